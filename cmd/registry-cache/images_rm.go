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
gets that image if it is asked for.`,
		Example: `  registry-cache images rm quay.io/podman/hello
  registry-cache images rm --dry-run docker.io/library/busybox:1.36 'ghcr.io/org/*:nightly-*'
  registry-cache images rm quay.io/podman/hello@sha256:3f6b2c1a9d0e`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openImages(cmd.Context())
			if err != nil {
				return err
			}
			removal, err := s.planRemoval(args)
			if err != nil {
				return err
			}
			if dryRun {
				return writeRemoval(cmd.OutOrStdout(), removal, "would remove", "would free")
			}
			err = removal.Run(cmd.Context())
			if errors.Is(err, fs.ErrPermission) {
				return fmt.Errorf("%w; run it as the user the cache runs as", err)
			}
			return errors.Join(err, writeRemoval(cmd.OutOrStdout(), removal, "removed", "freed"))
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would go")
	return cmd
}

func (s *imageStore) planRemoval(args []string) (*images.Removal, error) {
	var targets []images.Target
	var failures []error
	for _, arg := range args {
		found, err := s.targets(arg)
		if err != nil {
			failures = append(failures, err)
		}
		targets = append(targets, found...)
	}
	if err := errors.Join(failures...); err != nil {
		return nil, err
	}
	return s.PlanRemoval(targets), nil
}

// hosted is the first part of the names of pushed images, or empty.
func (s *imageStore) hosted() string {
	if s.cfg.Hosted == nil {
		return ""
	}
	return s.cfg.Hosted.Prefix
}

// targets are what an argument means.
func (s *imageStore) targets(arg string) (targets []images.Target, err error) {
	name, err := s.names.parse(arg)
	if err != nil {
		return nil, err
	}
	if name.pattern == nil && name.tag == "" && name.digest == "" {
		name.tag, name.text = "latest", arg+":latest"
	}
	for _, c := range name.match(s.Images) {
		if name.pattern == nil || !s.pushed(s.Images[c.image].Repository) || s.pushed(name.pattern.Repository) {
			targets = append(targets, images.Target{Image: c.image, Tags: c.tags})
		}
	}
	if len(targets) == 0 {
		return nil, name.unknown(s.Listing)
	}
	if name.digest != "" && len(targets) > 1 {
		return nil, fmt.Errorf("%s stands for %d images; give more digits of the digest", arg, len(targets))
	}
	return targets, nil
}

// pushed says whether a repository is one that images are pushed to.
func (s *imageStore) pushed(repo string) bool {
	return s.hosted() != "" && strings.HasPrefix(repo, s.hosted()+"/")
}

// writeRemoval says what went, or would go.
func writeRemoval(to io.Writer, r *images.Removal, removes, frees string) error {
	var text strings.Builder
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
	fmt.Fprintf(&text, "%s %s in %s\n", frees, sizeText(r.Freed.Bytes), counted(r.Freed.Blobs, "blob"))
	if r.Busy > 0 {
		fmt.Fprintf(&text, "%s left, as they were used meanwhile; the cleaner takes them in their time\n", counted(r.Busy, "blob"))
	}
	_, err := io.WriteString(to, printableLines(text.String()))
	return err
}
