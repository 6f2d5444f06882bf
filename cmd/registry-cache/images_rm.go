package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"registrycache/images"
)

func imagesRemoveCommand() *cobra.Command {
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "rm NAME|PATTERN...",
		Short: "Remove images from the cache",
		Long: `Remove images from the cache, with the blobs that no other image needs. The
next pull fetches them again from the upstream; only pushed images are gone for
good.

Names are read as in a pull: without a tag or a digest they mean the tag latest.
A tag goes alone when its image has other tags, or an index lists it; a digest,
which may be shortened as in the table, takes all tags. Patterns, as in pin of
CONFIG_FILE, stand for all that matches except pushed images, which must be
named. If one of the names is not cached, nothing is removed.

It may run beside pulls: who reads a blob reads on, and what a pull misses is
fetched again. A running cache still knows for TAG_MAX_AGE what a tag named, and
gets that image if it is asked for.

With a pushed image goes all else that no pushed image needs, such as what was
deleted through the registry API or left by a push that broke off. It may run
beside pushes: what one relies on stays.`,
		Example: `  registry-cache images rm quay.io/podman/hello
  registry-cache images rm --dry-run docker.io/library/busybox:1.36 'ghcr.io/org/*:nightly-*'
  registry-cache images rm quay.io/podman/hello@sha256:3f6b2c1a9d0e local/team/app:1`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openImages(cmd.Context())
			if err != nil {
				return err
			}
			removal, err := s.planRemoval(cmd.Context(), args)
			if err != nil {
				return err
			}
			if dryRun {
				return writeRemoval(cmd.OutOrStdout(), removal, "would remove", "would free")
			}
			if removal.pushed != nil {
				release, err := s.holdPushes(cmd.Context(), cmd.ErrOrStderr())
				if err != nil {
					return asCacheUser(err)
				}
				defer release()
				if removal, err = s.planRemoval(cmd.Context(), args); err != nil {
					return err
				}
			}
			return errors.Join(asCacheUser(removal.run(cmd.Context())), writeRemoval(cmd.OutOrStdout(), removal, "removed", "freed"))
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would go")
	return cmd
}

// asCacheUser says what helps against an error, if that is one of permissions.
func asCacheUser(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; run it as the user the cache runs as", err)
	}
	return err
}

// writeRemoval says what went, or would go.
func writeRemoval(to io.Writer, all removals, removes, frees string) error {
	var text strings.Builder
	var freed images.Amount
	for _, r := range all.all() {
		for _, t := range r.Tags {
			if t.Stays != "" {
				fmt.Fprintf(&text, "%s the tag %s:%s; the image stays, %s\n", removes, t.Repository, t.Tag, t.Stays)
			} else {
				fmt.Fprintf(&text, "%s %s:%s\n", removes, t.Repository, t.Tag)
			}
		}
		for _, image := range r.Images {
			if len(image.Tags) == 0 {
				fmt.Fprintf(&text, "%s %s@%s\n", removes, image.Repository, image.Digest)
			}
		}
		freed.Blobs += r.Freed.Blobs
		freed.Bytes += r.Freed.Bytes
	}
	fmt.Fprintf(&text, "%s %s in %s\n", frees, sizeText(freed.Bytes), counted(freed.Blobs, "blob"))
	if r := all.cached; r != nil && r.Busy > 0 {
		fmt.Fprintf(&text, "%s left, as they were used meanwhile; the cleaner takes them in their time\n", counted(r.Busy, "blob"))
	}
	if r := all.pushed; r != nil && r.Busy+r.Pledged > 0 {
		fmt.Fprintf(&text, "%s left, as a pull or a push may need them; a running cache takes them later\n", counted(r.Busy+r.Pledged, "pushed blob"))
	}
	_, err := io.WriteString(to, printableLines(text.String()))
	return err
}
