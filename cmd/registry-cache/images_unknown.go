package main

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"registrycache/config"
	"registrycache/images"
)

// maxNames is how many names an error shows.
const maxNames = 5

// unknown says that nothing is cached under a name, and what is under names
// like it.
func (name imageName) unknown(s *imageStore) error {
	if name.patterns != nil {
		return fmt.Errorf("no image matches %s; registry-cache images shows what there is", name.text)
	}
	repo := name.repository(s.Images)
	if repo == "" {
		if near := name.near(s.Images); len(near) > 0 {
			return fmt.Errorf("%s is not cached; did you mean %s?", name.text, strings.Join(near, ", "))
		}
		return fmt.Errorf("%s is not cached; registry-cache images shows what is", name.text)
	}
	if parent := name.parent(s, repo); parent != "" {
		return fmt.Errorf("%s is a part of %s and goes with it", name.text, parent)
	}
	var there []string
	for _, image := range s.Images {
		if image.Repository == repo {
			there = append(there, imageNamesOf(image)...)
		}
	}
	return fmt.Errorf("%s is not cached; of this repository there is %s", name.text, strings.Join(shorten(there, maxNames), ", "))
}

// imageNamesOf are those that images rm takes.
func imageNamesOf(image images.Image) (names []string) {
	for _, tag := range image.Tags {
		names = append(names, image.Repository+":"+tag)
	}
	if len(names) == 0 {
		names = []string{image.Repository + "@" + shortOf(image)}
	}
	return names
}

// parent is an image of the repository whose index lists what the name says.
func (name imageName) parent(s *imageStore, repo string) string {
	if name.digest == "" {
		return ""
	}
	for i, image := range s.Images {
		if image.Repository != repo {
			continue
		}
		of, _ := s.find(i)
		children, err := of.Children(image)
		if err == nil && slices.ContainsFunc(children, func(c images.Child) bool {
			return c.Here && strings.HasPrefix(c.Digest.Encoded(), name.digest)
		}) {
			return imageNamesOf(image)[0]
		}
	}
	return ""
}

// near are repositories whose names are much alike, or end alike.
func (name imageName) near(list []images.Image) (near []string) {
	var repos []string
	for _, image := range list {
		if len(repos) == 0 || repos[len(repos)-1] != image.Repository {
			repos = append(repos, image.Repository)
		}
	}
	for _, meant := range name.repositories {
		if best := config.Nearest(meant, repos, max(2, len(meant)/5)); best != "" && !slices.Contains(near, best) {
			near = append(near, best)
		}
	}
	last := path.Base(name.repositories[0])
	for _, repo := range repos {
		if path.Base(repo) == last && !slices.Contains(near, repo) {
			near = append(near, repo)
		}
	}
	return shorten(near, maxNames)
}

// shorten cuts a list, and says how much more there is.
func shorten(list []string, most int) []string {
	if len(list) <= most {
		return list
	}
	return append(slices.Clone(list[:most]), fmt.Sprintf("%d more", len(list)-most))
}
