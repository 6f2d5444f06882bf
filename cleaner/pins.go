package cleaner

import (
	"path"
	"strings"
)

// pin is a pattern of images that stay.
type pin struct {
	repository string
	// tag is a pattern of tags; empty is all the repository has, tagged or not.
	tag string
}

type pins []pin

func parsePins(patterns []string) pins {
	list := make(pins, 0, len(patterns))
	for _, pattern := range patterns {
		p := pin{repository: pattern}
		// A colon before the last slash is not that of a tag.
		if i := strings.LastIndexByte(pattern, ':'); i > strings.LastIndexByte(pattern, '/') {
			p.repository, p.tag = pattern[:i], pattern[i+1:]
		}
		list = append(list, p)
	}
	return list
}

// of says whether all of a repository is pinned, or else the patterns of tags
// that are.
func (list pins) of(repo string) (all bool, tags tagPatterns) {
	for _, p := range list {
		switch {
		case !matches(p.repository, repo):
		case p.tag == "":
			return true, nil
		default:
			tags = append(tags, p.tag)
		}
	}
	return false, tags
}

type tagPatterns []string

func (list tagPatterns) match(tag string) bool {
	for _, pattern := range list {
		if ok, err := path.Match(pattern, tag); err == nil && ok {
			return true
		}
	}
	return false
}

// matches is path.Match, and a trailing /* stands for any depth.
func matches(pattern, repo string) bool {
	if ok, err := path.Match(pattern, repo); err == nil && ok {
		return true
	}
	above, anyDepth := strings.CutSuffix(pattern, "/*")
	if !anyDepth {
		return false
	}
	parts := strings.Split(repo, "/")
	if n := strings.Count(above, "/") + 1; n < len(parts) {
		ok, err := path.Match(above, strings.Join(parts[:n], "/"))
		return err == nil && ok
	}
	return false
}
