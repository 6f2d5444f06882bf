package harness

import (
	"net"
	"strings"
	"testing"
)

// Network is how containers are reached from the host, and the host from them.
type Network struct {
	// Bridge is false where the machine can't have bridges; containers then
	// share the host's network.
	Bridge bool
	// HostIP is an address of this machine that containers can reach.
	HostIP string
}

// ContainerNetwork finds out whether containers can have a network of their
// own here, by running image, a registry-cache.
func (c *Client) ContainerNetwork(t testing.TB, image string) Network {
	t.Helper()
	ip := outsideIP()
	out, err := c.Do("run", "--rm", "--publish", "127.0.0.1:"+FreePort(t)+":8443", image, "version")
	if err != nil || ip == "" {
		t.Logf("no bridge network for containers here, the host's is used: %s (address %q)", strings.TrimSpace(out), ip)
		return Network{HostIP: "127.0.0.1"}
	}
	return Network{Bridge: true, HostIP: ip}
}

// outsideIP is an IPv4 address of this machine besides loopback, or "".
func outsideIP() string {
	addrs, _ := net.InterfaceAddrs()
	for _, addr := range addrs {
		if ip, ok := addr.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
			return ip.IP.String()
		}
	}
	return ""
}
