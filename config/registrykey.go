package config

import (
	"errors"
	"regexp"
	"slices"
	"strings"
)

// registryKey is what a key of the pull secret names: a registry and, within
// it, the repositories under Scope.
type registryKey struct {
	Host  string
	Scope string
	// PlainHTTP says that the key was an http:// address.
	PlainHTTP bool
}

// String is the key in its plainest form.
func (k registryKey) String() string {
	if k.Scope == "" {
		return k.Host
	}
	return k.Host + "/" + k.Scope
}

// dockerHubHosts are the names under which tools write down Docker Hub.
var dockerHubHosts = []string{DockerHub, "index.docker.io", "registry-1.docker.io"}

// namePart matches one part of a repository name (path-component in the
// grammar of distribution/reference). Hosts begin such names, so they have to
// match too.
var namePart = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$`)

// The errors of parseRegistryKey don't show the key, since a password may have
// strayed into it.
var (
	errKeyForm     = errors.New("does not begin with a registry's host; write host, host:port or host/organisation, such as quay.io, registry.lab:5000 or quay.io/podman")
	errKeyScheme   = errors.New("is an address of another kind than https://; write only the host, such as quay.io")
	errKeyUserinfo = errors.New("holds a user or password before the host; write only the host, such as quay.io, and the credentials as its value")
	errKeyQuery    = errors.New("holds a ? or #; write only the host, such as quay.io")
	errKeyWildcard = errors.New("holds a wildcard; each registry has a worker of its own, so name each host")
	errKeyIPv6     = errors.New("is an IPv6 address, which can't begin the name of an image; list a name for it in CONFIG_FILE, with the address as its url")
	errKeyHost     = errors.New("holds a host that can't begin the name of an image; write letters, digits, dots and single hyphens or underscores between them, such as quay.io or registry.lab:5000")
	errKeyPort     = errors.New("holds a port that is not a number from 1 to 65535; write host:port, such as registry.lab:5000")
	errKeyScope    = errors.New("holds a path that is not the beginning of a repository name; write lower-case parts, such as quay.io/podman/hello")
)

// parseRegistryKey reads a key of the pull secret in any of the forms that
// Docker, podman and Kubernetes write.
func parseRegistryKey(key string) (registryKey, error) {
	k := registryKey{}
	rest := strings.TrimSpace(key)
	scheme, after, isURL := strings.Cut(rest, "://")
	if isURL {
		switch strings.ToLower(scheme) {
		case "https":
		case "http":
			k.PlainHTTP = true
		default:
			return k, errKeyScheme
		}
		rest = after
	}
	host, scope, _ := strings.Cut(rest, "/")
	switch {
	case strings.Contains(rest, "@"):
		return k, errKeyUserinfo
	case strings.ContainsAny(rest, "?#"):
		return k, errKeyQuery
	case strings.Contains(rest, "*"):
		return k, errKeyWildcard
	case host == "":
		return k, errKeyForm
	}
	host, err := parseRegistryHost(host)
	if err != nil {
		return k, err
	}
	k.Host = host
	scope = strings.Trim(scope, "/")
	// Tools that log in to an API write down its address, version included.
	if version, org, _ := strings.Cut(scope, "/"); (isURL || host == DockerHub) && (version == "v1" || version == "v2") {
		scope = org
	}
	if scope != "" && !validRepository(scope) {
		return k, errKeyScope
	}
	k.Scope = scope
	return k, nil
}

// parseRegistryHost reads host or host:port and returns it as an upstream is
// named: in lower case, Docker Hub under its one name.
func parseRegistryHost(s string) (string, error) {
	if strings.HasPrefix(s, "[") || strings.Count(s, ":") > 1 {
		return "", errKeyIPv6
	}
	s = strings.ToLower(s)
	host, port, hasPort := strings.Cut(s, ":")
	switch {
	case hasPort && !validPort(port):
		return "", errKeyPort
	case !validHost(host), !namePart.MatchString(upstreamPath(s)):
		return "", errKeyHost
	case slices.Contains(dockerHubHosts, s):
		return DockerHub, nil
	}
	return s, nil
}

// upstreamPath is the first part of repository names for a host: a colon can't
// stand there.
func upstreamPath(name string) string { return strings.ReplaceAll(name, ":", "_") }

func validRepository(name string) bool {
	return !slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool { return !namePart.MatchString(part) })
}

// looksLikeHost tells a registry from the first part of a repository name, as
// distribution/reference does.
func looksLikeHost(host string) bool {
	return strings.ContainsAny(host, ".:") || host == "localhost"
}

var (
	keyUserinfo = regexp.MustCompile(`(?s)^(.*://)?.*@`)
	keyPort     = regexp.MustCompile(`(?s)^((?:.*://)?[^:/\[]*):[^/]*[^/0-9][^/]*`)
)

// showKey is a key as it may be shown: without what could be a password.
func showKey(key string) string {
	return keyPort.ReplaceAllString(hideUserinfo(key), "$1:...")
}

func hideUserinfo(s string) string { return keyUserinfo.ReplaceAllString(s, "$1...@") }
