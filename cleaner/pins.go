package cleaner

import "registrycache/images"

// pins are patterns of images that stay.
type pins []images.Pattern

func parsePins(patterns []string) pins {
	list := make(pins, 0, len(patterns))
	for _, pattern := range patterns {
		list = append(list, images.ParsePattern(pattern))
	}
	return list
}

// of says whether all of a repository is pinned, or else the patterns of tags
// that are.
func (list pins) of(repo string) (all bool, tags tagPatterns) {
	for _, p := range list {
		switch {
		case !p.MatchRepository(repo):
		case p.Tag == "":
			return true, nil
		default:
			tags = append(tags, p)
		}
	}
	return false, tags
}

type tagPatterns []images.Pattern

func (list tagPatterns) match(tag string) bool {
	for _, p := range list {
		if p.MatchTag(tag) {
			return true
		}
	}
	return false
}
