package tally

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"registrycache/logger/accesslog"
	"registrycache/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	repo  = "quay.io/podman/hello"
	index = "sha256:index"
	child = "sha256:child"
	other = "sha256:other"
)

// made is a tally in a directory of its own, in which index lists child.
type made struct {
	*Tally
	o      Options
	from   accesslog.Position
	report *bytes.Buffer
}

func newTally(t testing.TB) *made {
	t.Helper()
	m := &made{report: &bytes.Buffer{}}
	m.o = Options{
		File: filepath.Join(t.TempDir(), "state/traffic.json"), Log: zerolog.New(m.report),
		Listed: func(i, manifest string) bool { return i == index && manifest == child },
	}
	m.open()
	return m
}

// open is what a start does, after a kill or not.
func (m *made) open() { m.Tally, m.from = Open(m.o) }

// use puts the tally on a clock of another zone.
func (m *made) use(zone *time.Location) { m.calendar = calendar{zone: zone} }

func (m *made) upstream(t testing.TB, path string) status.UpstreamTraffic {
	t.Helper()
	all := m.Traffic().Upstreams
	i := slices.IndexFunc(all, func(u status.UpstreamTraffic) bool { return u.Path == path })
	require.GreaterOrEqual(t, i, 0, "%+v", all)
	return all[i]
}

// blob is a hit of 100 bytes, now.
func blob() accesslog.Record {
	return accesslog.Record{
		Time: time.Now(), RemoteAddr: "10.0.0.1:1234", Method: "GET", Kind: "blobs", Upstream: "quay.io", Repository: repo,
		Reference: "sha256:layer", Digest: "sha256:layer", Status: 200, Bytes: 100, Cache: accesslog.Hit,
	}
}

// manifest is a hit, now.
func manifest(method, reference, digest string) accesslog.Record {
	r := blob()
	r.Method, r.Kind, r.Reference, r.Digest, r.Bytes = method, "manifests", reference, digest, 10
	return r
}
