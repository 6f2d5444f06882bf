package config

import (
	"maps"
	"slices"
	"strings"
)

// checkAddressing makes sure that the first part of a repository name means
// one upstream only.
func (l *loader) checkAddressing(file *configFile, keys map[string]string) {
	owner := map[string]string{}
	for _, u := range l.cfg.Upstreams {
		if other, taken := owner[u.Path]; taken {
			l.mistake("upstream "+u.Name, "would be addressed as %s, like %s; remove one of the two", u.Path, other)
		}
		owner[u.Path], owner[u.Name] = u.Name, u.Name
	}
	for _, u := range l.cfg.Upstreams {
		for i, alias := range u.Aliases {
			where := file.at("upstreams", keys[u.Name], "aliases", index(i))
			other, taken := owner[alias]
			switch {
			case !namePart.MatchString(alias):
				l.mistake(where, "%q can't be a part of an image's name; write lower-case letters and digits, with single dots, hyphens or underscores between them", alias)
			case alias == officialImages:
				l.mistake(where, "%s is where Docker's official images are; choose another alias", alias)
			case taken && other == u.Name:
				l.mistake(where, "%s is a name of %s already; leave it out", alias, other)
			case taken:
				l.mistake(where, "%s is a name of %s already; choose another alias", alias, other)
			default:
				owner[alias] = u.Name
			}
		}
	}
	l.checkHostedPrefix(file, owner)
}

// officialImages is the first part of a name on Docker Hub, and so of names
// that Docker asks of a mirror. An alias would take them away.
const officialImages = "library"

func (l *loader) checkHostedPrefix(file *configFile, owner map[string]string) {
	if file.Hosted == nil {
		return
	}
	prefix := file.Hosted.Prefix
	where := file.at("hosted", "prefix")
	other, taken := owner[prefix]
	switch {
	case prefix == "":
		l.mistake(where, "is missing; write the first part of the names to push to, such as prefix: local")
	case !namePart.MatchString(prefix):
		l.mistake(where, "%q can't be a part of an image's name; write lower-case letters and digits, such as local", prefix)
	case prefix == officialImages:
		l.mistake(where, "%s is where Docker's official images are; choose another prefix", prefix)
	case taken:
		l.mistake(where, "%s is a name of the upstream %s; choose another prefix", prefix, other)
	}
}

func (l *loader) loadHosted(file *configFile) {
	if file.Hosted == nil {
		return
	}
	l.cfg.Hosted = &Hosted{Prefix: file.Hosted.Prefix, Push: file.Hosted.Push}
	for i, user := range file.Hosted.Push {
		where := file.at("hosted", "push", index(i))
		switch {
		case user == "" || strings.Contains(user, ":"):
			l.mistake(where, "is not the name of a user; write names as they stand in the htpasswd file")
		case slices.Index(file.Hosted.Push, user) < i:
			l.mistake(where, "%s is listed twice; keep one", user)
		}
	}
}

func (l *loader) loadPins(file *configFile) {
	for i, pattern := range file.Pin {
		if err := checkPin(pattern); err != nil {
			l.mistake(file.at("pin", index(i)), "%v", err)
		}
	}
	l.cfg.Pin = file.Pin
}

// setDefaultRegistry finds the upstream that DEFAULT_REGISTRY means. One that
// is not configured is no mistake: names without an upstream are then unknown.
func (l *loader) setDefaultRegistry() {
	name := strings.TrimSpace(l.set.DefaultRegistry)
	for _, u := range l.cfg.Upstreams {
		if name == u.Name || name == u.Path || slices.Contains(u.Aliases, name) {
			l.cfg.DefaultRegistry = u.Path
			return
		}
	}
	k, err := parseRegistryKey(name)
	if err != nil || k.Scope != "" {
		l.mistake("DEFAULT_REGISTRY", "%q is neither the host nor an alias of an upstream; write for example docker.io", showKey(name))
		return
	}
	l.cfg.DefaultRegistry = upstreamPath(k.Host)
	configured := map[string]bool{}
	for _, u := range l.cfg.Upstreams {
		configured[u.Path] = true
	}
	if !configured[l.cfg.DefaultRegistry] {
		l.notice("DEFAULT_REGISTRY %s is not a configured upstream, so names that name no upstream are unknown; configured are %s",
			k.Host, strings.Join(slices.Sorted(maps.Keys(configured)), ", "))
	}
}
