package images

import (
	"path"
	"strings"
)

// Pattern stands for images by name.
type Pattern struct {
	// Repository is as path.Match has it, and a trailing /* stands for any
	// depth.
	Repository string
	// Tag is as path.Match has it; empty is all that a repository has, tagged
	// or not.
	Tag string
}

// ParsePattern reads repository or repository:tag. Whether path.Match can read
// the parts is for the caller to check.
func ParsePattern(text string) Pattern {
	// A colon before the last slash is not that of a tag.
	if i := strings.LastIndexByte(text, ':'); i > strings.LastIndexByte(text, '/') {
		return Pattern{text[:i], text[i+1:]}
	}
	return Pattern{Repository: text}
}

// MatchRepository says whether the pattern may stand for an image of the
// repository.
func (p Pattern) MatchRepository(repo string) bool {
	if ok, err := path.Match(p.Repository, repo); err == nil && ok {
		return true
	}
	above, anyDepth := strings.CutSuffix(p.Repository, "/*")
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

// MatchTag says whether the pattern stands for a tag of a repository that it
// matches.
func (p Pattern) MatchTag(tag string) bool {
	ok, err := path.Match(p.Tag, tag)
	return p.Tag == "" || err == nil && ok
}
