package main

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func imagesCommand() *cobra.Command {
	var asJSON, reverse bool
	order := byName
	cmd := &cobra.Command{
		Use:   "images [NAME|PATTERN]...",
		Short: "List what is cached, and what was pushed",
		Long: `List what is cached: the images that have a tag or were pulled by digest, and
those that were pushed to the cache itself (hosted in CONFIG_FILE). The store is read as it lies in REGISTRYDIR; the cache may run or not, and
nothing is changed. Run it as the user the cache runs as: another user's look
at a manifest may count as its use.

SIZE is disk space, and SHARED the part of it that other images need too, so
SIZE less SHARED is what removing the image frees. LAST USED is what the cleaner
goes by: an image is used when it is pulled, or an index that lists it; pushed
images are never evicted, whenever they were used. COMPLETE says whether all that
was pulled of it can be pulled again without the upstream.

Names are read as in a pull, and without a tag mean all of a repository, or of
an upstream. In patterns, as in pin of CONFIG_FILE, * stands for a part of a
name, and at the end for any number of parts.`,
		Example: `  registry-cache images
  registry-cache images --sort size quay.io/podman/hello 'docker.io/*'
  registry-cache images --sort use --reverse --json | jq -r '.images[] | select(.complete | not) | .name'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openImages(cmd.Context())
			if err != nil {
				return err
			}
			shown, err := s.choose(args)
			if err != nil {
				return err
			}
			order.sort(shown)
			if reverse {
				slices.Reverse(shown)
			}
			if asJSON {
				return s.writeJSON(cmd.OutOrStdout(), shown)
			}
			return s.writeTable(cmd.OutOrStdout(), shown)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().Var(&order, "sort", "by name, use (latest first) or size (largest first)")
	cmd.Flags().BoolVar(&reverse, "reverse", false, "sort the other way round")
	cmd.AddCommand(imagesRemoveCommand())
	return cmd
}

// imageOrder is a flag.
type imageOrder string

const (
	byName imageOrder = "name"
	byUse  imageOrder = "use"
	bySize imageOrder = "size"
)

func (o *imageOrder) String() string { return string(*o) }
func (*imageOrder) Type() string     { return "ORDER" }

// Set reads the flag.
func (o *imageOrder) Set(text string) error {
	for _, known := range []imageOrder{byName, byUse, bySize} {
		if text == string(known) {
			*o = known
			return nil
		}
	}
	return errors.New("write name, use or size")
}

func (o *imageOrder) sort(list []listedImage) {
	slices.SortFunc(list, func(a, b listedImage) int {
		first := 0
		switch *o {
		case byUse:
			first = b.Used.Compare(a.Used)
		case bySize:
			first = cmp.Compare(b.Size, a.Size)
		case byName:
		}
		return cmp.Or(first, strings.Compare(a.Repository, b.Repository),
			slices.Compare(a.Tags, b.Tags), strings.Compare(a.Digest.String(), b.Digest.String()))
	})
}
