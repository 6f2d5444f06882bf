package config

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// hostName is looser than DNS: underscores are seen in the names of containers.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*$`)

// maxHostName is the length of the longest name in DNS (RFC 1035 section 2.3.4).
const maxHostName = 253

func validHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return len(host) <= maxHostName && hostName.MatchString(host)
}

// validPort accepts 1 to 65535 written plainly.
func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == port
}

// validHostPort accepts host, host:port, [IPv6] and [IPv6]:port.
func validHostPort(s string) bool {
	if host, port, err := net.SplitHostPort(s); err == nil {
		bracketed := strings.HasPrefix(s, "[")
		return validHost(host) && validPort(port) && bracketed == strings.Contains(host, ":")
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		addr, err := netip.ParseAddr(inner)
		return ok && err == nil && addr.Is6()
	}
	return !strings.Contains(s, ":") && validHost(s)
}

// parseListenAddress reads an address to listen on: host:port, where the host
// may be missing and port 0 is any that is free.
func parseListenAddress(s string) (string, error) {
	text := strings.TrimSpace(s)
	host, port, err := net.SplitHostPort(text)
	if err != nil || host != "" && !validHost(host) || port != "0" && !validPort(port) {
		return "", fmt.Errorf("%q is not an address to listen on; write :8443, 127.0.0.1:8443 or [::1]:8443", s)
	}
	return text, nil
}

// sameListenAddress says whether two addresses can't both be listened on.
func sameListenAddress(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	return hostA == hostB || anyAddress(hostA) || anyAddress(hostB)
}

func anyAddress(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "" || err == nil && addr.IsUnspecified()
}
