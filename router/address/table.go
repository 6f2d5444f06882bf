package address

import (
	"regexp"
	"strings"

	"github.com/distribution/distribution/v3/registry/api/errcode"

	"registrycache/config"
)

// Table knows the configured upstreams by all their names. It is immutable.
type Table struct {
	routes      map[string]config.Route
	defaultPath string
	// known lists the upstreams for error messages.
	known string
}

// hubHosts are the hosts that serve Docker Hub, by which some clients name it.
var hubHosts = []string{"registry-1.docker.io", "index.docker.io"}

// NewTable makes a table of the routes. defaultPath is the Path of the one
// that answers names without an upstream, and need not be among them. A name
// that two routes claim belongs to the one whose Path or Name it is, else to
// the first.
func NewTable(routes []config.Route, defaultPath string) *Table {
	t := &Table{routes: make(map[string]config.Route), defaultPath: defaultPath}
	names := make([]string, 0, len(routes))
	for _, r := range routes {
		t.routes[r.Path] = r
		t.routes[r.Name] = r
		names = append(names, r.Path)
	}
	for _, r := range routes {
		further := r.Aliases
		if r.Name == config.DockerHub {
			further = append(hubHosts[:len(hubHosts):len(hubHosts)], further...)
		}
		for _, alias := range further {
			if _, taken := t.routes[alias]; !taken {
				t.routes[alias] = r
			}
		}
	}
	t.known = "this cache serves " + strings.Join(names, ", ")
	if len(names) == 0 {
		t.known = "this cache has no upstream configured"
	}
	return t
}

// hostLike matches a first path part that must mean a registry: it has a dot
// or a port, as in Docker's rule for image names, with the colon written as
// an underscore.
var hostLike = regexp.MustCompile(`\.|_[0-9]+$|^localhost$`)

// route finds the upstream of a request, and what of the name is left for it.
// name is a valid one.
func (t *Table) route(name, ns string) (route config.Route, rest string, err error) {
	first, below, more := strings.Cut(name, "/")
	if ns != "" {
		r, ok := t.routes[strings.ToLower(ns)]
		if !ok || r.Hosted { // what is pushed here is in no other registry's name space
			return r, "", errcode.ErrorCodeNameUnknown.WithMessage(
				"ns=" + quote(ns) + " is not an upstream of this cache; " + t.known)
		}
		// A mirror configured with the upstream's path gets ns besides.
		if first == r.Path && more {
			name = below
		}
		return r, name, nil
	}
	if r, ok := t.routes[first]; ok {
		if !more && r.Hosted {
			return r, "", errcode.ErrorCodeNameInvalid.WithMessage(
				"the repository is missing: what is pushed here has names below " + first + ", as in " + first + "/team/image")
		}
		if !more {
			return r, "", errcode.ErrorCodeNameInvalid.WithMessage(
				quote(first) + " is an upstream; the repository is missing, as in " + first + "/org/image")
		}
		return r, below, nil
	}
	if hostLike.MatchString(first) {
		return config.Route{}, "", errcode.ErrorCodeNameUnknown.WithMessage(
			quote(first) + " is not an upstream of this cache; " + t.known)
	}
	r, ok := t.routes[t.defaultPath]
	if !ok {
		return r, "", errcode.ErrorCodeNameUnknown.WithMessage(
			quote(name) + " names no upstream, and the default, " +
				quote(t.defaultPath) + ", is not configured; " + t.known)
	}
	return r, name, nil
}
