package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"slices"

	"registrycache/config"
	"registrycache/images"
)

// imageStore is what is cached, and what was pushed, and how it is called.
type imageStore struct {
	cached *images.Listing
	// pushed is empty where nothing ever was.
	pushed *images.Listing
	// Images are those of both, the cached ones first.
	Images []images.Image

	cfg   *config.Config
	names imageNames
}

// listedImage is an image and the listing that it is of.
type listedImage struct {
	images.Image
	of *images.Listing
}

// openImages reads the stores of the configuration.
func openImages(ctx context.Context) (*imageStore, error) {
	cfg, err := config.Load(os.Environ())
	if err != nil {
		return nil, err
	}
	// The inventory of a large store lives until the end, so garbage as large
	// as it would be half of all memory.
	debug.SetGCPercent(50)
	s := &imageStore{cfg: cfg, names: newImageNames(cfg), pushed: &images.Listing{}}
	s.cached, err = listImages(ctx, cfg.StoreDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no store: %s does not exist; REGISTRYDIR says where it is", cfg.StoreDir)
	}
	if err != nil {
		return nil, err
	}
	return s, s.readPushed(ctx)
}

// readPushed reads what was pushed.
func (s *imageStore) readPushed(ctx context.Context) error {
	pushed, err := listImages(ctx, images.HostedDir(s.cfg.StoreDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		s.pushed = pushed
	}
	s.Images = slices.Concat(s.cached.Images, s.pushed.Images)
	return nil
}

// listImages reads a store. It returns fs.ErrNotExist when there is no dir.
func listImages(ctx context.Context, dir string) (*images.Listing, error) {
	store, err := images.OpenExisting(dir)
	if err != nil {
		return nil, err
	}
	return store.List(ctx)
}

// find returns the listing that an image is of, and its place in there.
func (s *imageStore) find(image int) (*images.Listing, int) {
	if cached := len(s.cached.Images); image >= cached {
		return s.pushed, image - cached
	}
	return s.cached, image
}

// isPushed says whether an image was pushed.
func (s *imageStore) isPushed(image int) bool { return image >= len(s.cached.Images) }

// choose returns the images that names and patterns stand for; without any, all
// of them. Each of them must stand for something.
func (s *imageStore) choose(args []string) ([]listedImage, error) {
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
			failures = append(failures, name.unknown(s))
		}
		for _, c := range found {
			places[c.image] = true
		}
	}
	var shown []listedImage
	for i, image := range s.Images {
		if len(args) == 0 || places[i] {
			of, _ := s.find(i)
			shown = append(shown, listedImage{image, of})
		}
	}
	return shown, errors.Join(failures...)
}
