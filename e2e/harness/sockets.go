package harness

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// WaitTaken waits until the appliance has read all that was sent to its main
// address, so that no request is still on its way to it (proc(5), net/tcp).
func (a *Appliance) WaitTaken(t testing.TB) {
	t.Helper()
	port := fmt.Sprintf(":%04X", netip.MustParseAddrPort(a.Addr).Port())
	Eventually(t, func() bool {
		table, err := os.ReadFile("/proc/net/tcp")
		require.NoError(t, err)
		for line := range strings.Lines(string(table)) {
			fields := strings.Fields(line)
			const established = "01"
			if len(fields) > 4 && strings.HasSuffix(fields[1], port) && fields[3] == established &&
				!strings.HasSuffix(fields[4], ":00000000") {
				return false
			}
		}
		return true
	}, "%s has read all that was sent to it", a.Addr)
}
