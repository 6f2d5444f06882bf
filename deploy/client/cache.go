package client

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"

	"github.com/distribution/reference"
)

// Cache is the cache as its clients see it.
type Cache struct {
	// Host is what ParseHost accepted.
	Host      string
	Upstreams []Upstream
	// DefaultPath is the Path of the upstream that answers names without one.
	DefaultPath string
	Security    Security
}

// Upstream is a registry that the cache pulls from.
type Upstream struct {
	// Name is the registry's host, or host:port, as clients know it.
	Name string
	// Path is how the cache addresses it: the first part of repository names.
	Path string
}

// Security is how the connection to the cache is protected.
type Security int

const (
	// Verified is TLS with a certificate that the client can verify.
	Verified Security = iota
	// Unverified is TLS with a certificate that it can't.
	Unverified
	// Plain is HTTP.
	Plain
)

// DockerHub is the registry that Docker's mirrors stand for.
const DockerHub = "docker.io"

var domain = regexp.MustCompile("^" + reference.DomainRegexp.String() + "$")

// ParseHost checks that host is a host, or host:port, that clients take for a
// registry.
func ParseHost(host string) error {
	const example = "write for example cache.local:8443"
	switch {
	case host == "":
		return errors.New("is empty; " + example)
	case strings.Contains(host, "://"):
		return fmt.Errorf("%q has a scheme; leave it out: %s", host, example)
	case strings.Contains(host, "/"):
		return fmt.Errorf("%q has a path; %s", host, example)
	case !domain.MatchString(host):
		return fmt.Errorf("%q is not a host, or host:port; %s", host, example)
	case host != "localhost" && !strings.ContainsAny(host, ".:"):
		// reference.ParseNormalizedNamed and all that follow it.
		return fmt.Errorf("%q has no dot and no port, so that clients would look for it on docker.io; write %s:443", host, host)
	}
	if _, port, err := net.SplitHostPort(host); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("%q has the port %s; ports are 1 to 65535", host, port)
		}
	}
	return nil
}

// mirror is the address under which the cache has what an upstream has.
func (c Cache) mirror(u Upstream) string { return c.Host + "/" + u.Path }

// url is the base address of the cache.
func (c Cache) url() string {
	if c.Security == Plain {
		return "http://" + c.Host
	}
	return "https://" + c.Host
}

// defaultName is the name of the upstream that answers names without one, or
// empty when there is none.
func (c Cache) defaultName() string {
	for _, u := range c.Upstreams {
		if u.Path == c.DefaultPath {
			return u.Name
		}
	}
	return ""
}

// Insecure says whether clients must be told not to verify the cache.
func (c Cache) Insecure() bool { return c.Security != Verified }
