package config

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

func index(i int) string { return strconv.Itoa(i) }

// relativeTo resolves a path that a file names from the file's own directory.
func relativeTo(file, name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(filepath.Dir(file), name)
}

var (
	errURLForm     = errors.New("is not the address of a registry; write https://host, https://host:port or http://host:port")
	errURLUserinfo = errors.New("holds a user or password; credentials belong in the pull secret")
	errURLQuery    = errors.New("holds a ? or #, which the address of a registry has not")
	errURLVersion  = errors.New("ends in /v2, which is added by itself; leave it out")
)

// parseBaseURL reads the address of a registry's API, without /v2/. The errors
// don't show it, since a password may stand in it.
func parseBaseURL(s string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(s))
	switch {
	case strings.Contains(s, "@"):
		return "", errURLUserinfo
	case err != nil, u.Scheme != "http" && u.Scheme != "https", !validHostPort(u.Host):
		return "", errURLForm
	case strings.ContainsAny(s, "?#"):
		return "", errURLQuery
	}
	base := strings.TrimRight(u.EscapedPath(), "/")
	if path.Base(base) == "v2" {
		return "", errURLVersion
	}
	return u.Scheme + "://" + strings.ToLower(u.Host) + base, nil
}

// checkPattern refuses what path.Match can't read, or can't match a name.
func checkPattern(pattern, example string) error {
	_, err := path.Match(pattern, "")
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a pattern: a [ is not closed or a \\ ends it; write for example %s", pattern, example)
	case pattern == "", strings.HasPrefix(pattern, "/"), strings.HasSuffix(pattern, "/"), strings.Contains(pattern, "//"):
		return fmt.Errorf("%q can't match, since names have no empty parts; write for example %s", pattern, example)
	}
	return nil
}

// checkPin checks a pattern for images that stay.
func checkPin(pattern string) error {
	const example = "quay.io/podman/*"
	if err := checkPattern(pattern, example); err != nil {
		return err
	}
	name, _, digest := strings.Cut(pattern, "@")
	repository, tag, tagged := cutTag(name)
	switch {
	case digest:
		return fmt.Errorf("%q has a digest, and what is pinned are repositories and tags; write for example %s", pattern, name)
	case tagged && tag == "":
		return fmt.Errorf("%q ends where the tag should be; write for example %s", pattern, repository)
	case strings.ToLower(repository) != repository:
		return fmt.Errorf("%q can't match, since repository names are lower case; write for example %s", pattern, strings.ToLower(repository))
	}
	return nil
}

// cutTag splits a name at the colon of its tag; one before the last slash is
// that of a port.
func cutTag(name string) (repository, tag string, tagged bool) {
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[:i], name[i+1:], true
	}
	return name, "", false
}

// checkRepositoryPattern checks a pattern for the repositories of an upstream.
func checkRepositoryPattern(pattern string, u *Upstream) error {
	const example = "podman/*"
	if err := checkPattern(pattern, example); err != nil {
		return err
	}
	first, rest, more := strings.Cut(pattern, "/")
	switch {
	case more && (first == u.Name || first == u.Path):
		return fmt.Errorf("%q begins with the upstream, which is left out here; write %s", pattern, rest)
	case strings.ToLower(pattern) != pattern:
		return fmt.Errorf("%q can't match, since repository names are lower case; write for example %s", pattern, example)
	}
	return nil
}
