package main

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"registrycache/config"
	"registrycache/images"
	"registrycache/router/address"
)

// imageName is what an argument means.
type imageName struct {
	text string
	// patterns are what an argument with wildcards may mean in the store: as it
	// is written, and as the router reads names. Then nothing below is set.
	patterns []images.Pattern
	// repositories are what it may mean in the store, the likeliest first.
	repositories []string
	// tag and digest are as far as given. A digest is its first hex digits.
	tag, digest string
}

// imageNames reads names as users write them, in the meaning that the router
// gives them.
type imageNames struct {
	cfg   *config.Config
	table *address.Table
}

func newImageNames(cfg *config.Config) imageNames {
	return imageNames{cfg, address.NewTable(cfg.Router().Routes, cfg.DefaultRegistry)}
}

// shortDigest is a digest or its beginning, as the table shows it. So many
// digits are not typed by mistake.
var shortDigest = regexp.MustCompile(`^(?:sha(?:256|384|512):)?([0-9a-f]{6,128})$`)

// parse reads REPOSITORY[:TAG], REPOSITORY@DIGEST, or a pattern of the first.
func (n imageNames) parse(text string) (imageName, error) {
	name := imageName{text: text}
	rest, digest, hasDigest := strings.Cut(text, "@")
	p := images.ParsePattern(rest)
	switch {
	case p.Repository == "":
		return name, fmt.Errorf("%q names no repository; write for example quay.io/podman/hello:latest", text)
	case hasDigest && p.Tag != "":
		return name, fmt.Errorf("%q has a tag and a digest; leave one of them out", text)
	case strings.HasSuffix(rest, ":"):
		return name, fmt.Errorf("%q ends where the tag should be; write for example quay.io/podman/hello:latest", text)
	case hasDigest:
		m := shortDigest.FindStringSubmatch(digest)
		if m == nil {
			return name, fmt.Errorf("%q has no digest after the @; it looks like sha256:3f6b2c1a9d0e, six hex digits or more", text)
		}
		name.digest = m[1]
	}
	if strings.ContainsAny(rest, `*?[\`) {
		if hasDigest {
			return name, fmt.Errorf("%q is a pattern with a digest; leave one of them out", text)
		}
		for _, part := range []string{p.Repository, p.Tag} {
			if _, err := path.Match(part, ""); err != nil {
				return name, fmt.Errorf("%q is not a pattern: a [ is not closed or a \\ ends it; write for example 'quay.io/podman/*'", text)
			}
		}
		stored, _ := n.cfg.StoredPattern(rest)
		name.patterns = []images.Pattern{p, images.ParsePattern(stored)}
		return name, nil
	}
	if err := checkReference(rest); err != nil {
		return name, fmt.Errorf("%q is not the name of an image: %w; write for example quay.io/podman/hello:latest", text, err)
	}
	name.tag = p.Tag
	name.repositories = n.repositories(p.Repository)
	return name, nil
}

// checkReference is reference.Parse with errors that don't begin with its own
// name, and leaves digests out.
func checkReference(text string) error {
	_, err := reference.Parse(text)
	if errors.Is(err, reference.ErrNameContainsUppercase) {
		return errors.New("repositories are lower case")
	}
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "invalid reference format: "))
	}
	return nil
}

// repositories are what a name may mean in the store: itself, as another
// registry may have written the store; what the router makes of it; and both
// without the first part, which may be the address of the cache.
func (n imageNames) repositories(name string) (all []string) {
	add := func(name string) {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	first, rest, more := strings.Cut(name, "/")
	// A colon can't stand in a repository's name.
	name = strings.Replace(first, ":", "_", 1)
	if more {
		name += "/" + rest
	}
	add(name)
	canonical := func(name string) {
		if t, err := n.table.Parse("/v2/"+name+"/manifests/latest", ""); err == nil {
			add(t.Repository)
		}
	}
	canonical(name)
	if more && (strings.ContainsAny(first, ".:") || first == "localhost") {
		add(rest)
		canonical(rest)
	}
	return all
}

// chosen is an image of a listing that a name stands for, and the tags that it
// names; none if it names the image without them.
type chosen struct {
	image int
	tags  []string
}

// match returns the images that a name stands for. Without tag and digest that
// is all of a repository, or all repositories below.
func (name imageName) match(list []images.Image) (found []chosen) {
	for _, p := range name.patterns {
		if found := matchPattern(p, list); len(found) > 0 {
			return found
		}
	}
	repo := name.repository(list)
	if repo == "" && name.tag == "" && name.digest == "" {
		return name.below(list)
	}
	for i, image := range list {
		switch {
		case image.Repository != repo:
		case name.digest != "":
			if strings.HasPrefix(image.Digest.Encoded(), name.digest) {
				found = append(found, chosen{image: i})
			}
		case name.tag == "":
			found = append(found, chosen{image: i})
		case slices.Contains(image.Tags, name.tag):
			found = append(found, chosen{i, []string{name.tag}})
		}
	}
	return found
}

func matchPattern(p images.Pattern, list []images.Image) (found []chosen) {
	for i, image := range list {
		if !p.MatchRepository(image.Repository) {
			continue
		}
		if p.Tag == "" {
			found = append(found, chosen{image: i})
		} else if tags := matchTags(p, image.Tags); len(tags) > 0 {
			found = append(found, chosen{i, tags})
		}
	}
	return found
}

// below returns the images of all repositories whose names begin with the parts
// of the name, such as an upstream.
func (name imageName) below(list []images.Image) (found []chosen) {
	for _, repo := range name.repositories {
		for i, image := range list {
			if strings.HasPrefix(image.Repository, repo+"/") {
				found = append(found, chosen{image: i})
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

func matchTags(p images.Pattern, tags []string) (matching []string) {
	for _, tag := range tags {
		if p.MatchTag(tag) {
			matching = append(matching, tag)
		}
	}
	return matching
}

// repository is the first of those that the name may mean which has images, or
// empty.
func (name imageName) repository(list []images.Image) string {
	for _, repo := range name.repositories {
		if slices.ContainsFunc(list, func(i images.Image) bool { return i.Repository == repo }) {
			return repo
		}
	}
	return ""
}
