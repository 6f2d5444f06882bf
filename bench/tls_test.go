package bench

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

const hostName = "localhost"

func newPair(b *testing.B) *harness.Pair {
	b.Helper()
	pair := harness.NewPair(b, hostName)
	return &pair
}

// clientTLS trusts the certificate, and speaks HTTP/1.1 as it names no other.
func clientTLS(pair *harness.Pair) *tls.Config {
	config := pair.Client()
	config.ServerName = hostName
	return config
}

// writeTLS puts the certificate and its key where servers find them.
func writeTLS(b *testing.B, dir string, pair *harness.Pair) {
	b.Helper()
	require.NoError(b, os.WriteFile(filepath.Join(dir, "tls.crt"), pair.Cert, 0o600))
	require.NoError(b, os.WriteFile(filepath.Join(dir, "tls.key"), pair.Key, 0o600))
}
