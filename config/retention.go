package config

import (
	"slices"
	"strings"
)

// Quota is the most that the images of one upstream may take.
type Quota struct {
	// Path is the first part of the repository names.
	Path string
	// MaxSize is in bytes.
	MaxSize int64
}

// tellCleaner passes on what CONFIG_FILE says of what goes and what stays.
func (l *loader) tellCleaner() {
	c := &l.cfg.Cleaner
	for _, u := range l.cfg.Upstreams {
		if u.MaxSize > 0 {
			c.Quotas = append(c.Quotas, Quota{u.Path, u.MaxSize})
		}
	}
	for _, pattern := range l.cfg.Pin {
		stored, known := l.cfg.StoredPattern(pattern)
		first, _, _ := strings.Cut(pattern, "/")
		if !known && !strings.ContainsAny(first, `*?[\`) && (l.cfg.Hosted == nil || first != l.cfg.Hosted.Prefix) {
			l.notice("pin: %q keeps nothing, since no upstream is called %s; write for example %s/%s", pattern, first, DockerHub, pattern)
		}
		c.Pins = append(c.Pins, stored)
	}
}

// StoredPattern turns a pattern of names as clients write them into one of
// names as they are stored, and says whether its first part is an upstream's.
// Of any other it returns the pattern as it is.
func (c *Config) StoredPattern(pattern string) (stored string, known bool) {
	first, rest, _ := strings.Cut(pattern, "/")
	i := slices.IndexFunc(c.Upstreams, func(u Upstream) bool {
		return first == u.Name || first == u.Path || slices.Contains(u.Aliases, first)
	})
	if i < 0 {
		return pattern, false
	}
	u := &c.Upstreams[i]
	repository, _, _ := cutTag(rest)
	if u.Library() && rest != "" && repository != "*" && !strings.Contains(rest, "/") {
		rest = "library/" + rest
	}
	if rest == "" {
		rest = "*"
	}
	return u.Path + "/" + rest, true
}
