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
		c.Pins = append(c.Pins, l.storedName(pattern))
	}
}

// storedName turns a pattern of names as clients write them into one of names
// as they are stored.
func (l *loader) storedName(pattern string) string {
	first, rest, _ := strings.Cut(pattern, "/")
	i := slices.IndexFunc(l.cfg.Upstreams, func(u Upstream) bool {
		return first == u.Name || first == u.Path || slices.Contains(u.Aliases, first)
	})
	if i < 0 {
		if !strings.ContainsAny(first, `*?[\`) && (l.cfg.Hosted == nil || first != l.cfg.Hosted.Prefix) {
			l.notice("pin: %q keeps nothing, since no upstream is called %s; write for example %s/%s", pattern, first, DockerHub, pattern)
		}
		return pattern
	}
	u := &l.cfg.Upstreams[i]
	repository, _, _ := cutTag(rest)
	if u.Library() && rest != "" && repository != "*" && !strings.Contains(rest, "/") {
		rest = "library/" + rest
	}
	if rest == "" {
		rest = "*"
	}
	return u.Path + "/" + rest
}
