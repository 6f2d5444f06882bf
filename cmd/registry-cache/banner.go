package main

import (
	"fmt"
	"net"
	"strings"

	"github.com/dustin/go-humanize"

	"registrycache/config"
	"registrycache/supervisor"
)

// banner is what a person reads when the cache is ready: where it is, what it
// caches, and the command to try.
func banner(cfg *config.Config, a supervisor.Addresses) string {
	upstreams := make([]string, 0, len(cfg.Upstreams))
	for _, u := range cfg.Upstreams {
		upstreams = append(upstreams, u.Name)
	}
	var b strings.Builder
	line := func(label, value string) { fmt.Fprintf(&b, "  %-10s %s\n", label, value) }
	b.WriteString("\nregistry-cache is ready\n\n")
	line("address", cacheURL(cfg, a))
	line("upstreams", wrap(upstreams, 76, strings.Repeat(" ", 13)))
	line("store", cfg.StoreDir)
	line("limit", limit(cfg.Cleaner))
	line("status", cacheURL(cfg, a)+"/")
	line("try", tryLine(cfg, a))
	b.WriteString("\n")
	return b.String()
}

func cacheURL(cfg *config.Config, a supervisor.Addresses) string {
	scheme := "http"
	if cfg.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + reachable(a.Listen)
}

// reachable turns a listen address into one that a client on this machine can
// use.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	ip := net.ParseIP(host)
	if host == "" || ip != nil && (ip.IsUnspecified() || ip.IsLoopback()) {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

func limit(c config.Cleaner) string {
	return fmt.Sprintf("%s, cleaned when %d %% over", humanize.Bytes(uint64(max(c.MaxSize, 0))), c.ThresholdPercent)
}

// examples are small public images, one for each upstream that has one.
var examples = []struct{ upstream, image string }{
	{"quay.io", "podman/hello:latest"},
	{config.DockerHub, "library/hello-world:latest"},
	{"registry.access.redhat.com", "ubi9/ubi-micro:latest"},
	{"registry.k8s.io", "pause:3.10"},
	{"mcr.microsoft.com", "hello-world:latest"},
}

func tryLine(cfg *config.Config, a supervisor.Addresses) string {
	verify := ""
	if cfg.TLS == nil {
		verify = "--tls-verify=false "
	}
	prefix := "podman pull " + verify + reachable(a.Listen) + "/"
	for _, e := range examples {
		for _, u := range cfg.Upstreams {
			if u.Name == e.upstream {
				return prefix + u.Path + "/" + e.image
			}
		}
	}
	if len(cfg.Upstreams) == 0 {
		return "add a registry to the pull secret or CONFIG_FILE first"
	}
	return prefix + cfg.Upstreams[0].Path + "/REPOSITORY:TAG"
}

// wrap joins words with blanks into lines of at most width characters.
func wrap(words []string, width int, indent string) string {
	var b strings.Builder
	n := len(indent)
	for i, w := range words {
		if i > 0 {
			if n+1+len(w) > width {
				b.WriteString("\n" + indent)
				n = len(indent)
			} else {
				b.WriteString(" ")
				n++
			}
		}
		b.WriteString(w)
		n += len(w)
	}
	return b.String()
}
