package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"registrycache/config"
	"registrycache/images"
)

func imagesCommand() *cobra.Command {
	var asJSON, reverse bool
	order := byName
	cmd := &cobra.Command{
		Use:   "images [NAME|PATTERN]...",
		Short: "List what is cached",
		Long: `List what is cached: the images that have a tag or were pulled by digest.
The store is read as it lies in REGISTRYDIR; the cache may run or not, and
nothing is changed. Run it as the user the cache runs as: another user's look
at a manifest may count as its use.

SIZE is disk space, and SHARED the part of it that other images need too, so
SIZE less SHARED is what removing the image frees. LAST USED is what the cleaner
goes by: an image is used when it is pulled, or an index that lists it. COMPLETE
says whether all that was pulled of it can be pulled again without the upstream.

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

// imageStore is what is cached, and how it is called.
type imageStore struct {
	*images.Listing
	cfg   *config.Config
	names imageNames
}

// openImages reads the store of the configuration.
func openImages(ctx context.Context) (*imageStore, error) {
	cfg, err := config.Load(os.Environ())
	if err != nil {
		return nil, err
	}
	store, err := images.OpenExisting(cfg.StoreDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no store: %s does not exist; REGISTRYDIR says where it is", cfg.StoreDir)
	}
	if err != nil {
		return nil, err
	}
	// The inventory of a large store lives until the end, so garbage as large
	// as it would be half of all memory.
	debug.SetGCPercent(50)
	inventory, err := store.Take(ctx)
	if err == nil {
		err = inventory.Relate(ctx)
	}
	s := &imageStore{cfg: cfg, names: newImageNames(cfg)}
	if err == nil {
		s.Listing, err = inventory.List(ctx)
	}
	return s, err
}

// choose returns the images that names and patterns stand for; without any, all
// of them. Each of them must stand for something.
func (s *imageStore) choose(args []string) ([]images.Image, error) {
	if len(args) == 0 {
		return slices.Clone(s.Images), nil
	}
	var failures []error
	places := map[int]bool{}
	for _, arg := range args {
		name, err := s.names.parse(arg)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		found := name.match(s.Images)
		if len(found) == 0 {
			failures = append(failures, name.unknown(s.Listing))
		}
		for _, c := range found {
			places[c.image] = true
		}
	}
	var shown []images.Image
	for i, image := range s.Images {
		if places[i] {
			shown = append(shown, image)
		}
	}
	return shown, errors.Join(failures...)
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

func (o *imageOrder) sort(list []images.Image) {
	slices.SortFunc(list, func(a, b images.Image) int {
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
