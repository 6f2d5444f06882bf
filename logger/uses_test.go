package logger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"registrycache/images"
	"registrycache/logger/accesslog"
)

const repo = "quay.io/podman/hello"

// landed is when the blobs of made stores landed and were last used.
var landed = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// cached is a store with one image in an index: of two platforms one is here.
type cached struct {
	store                          *images.Store
	dir                            string
	index, manifest, config, layer digest.Digest
	other                          digest.Digest // another image's layer
}

func newCached(t testing.TB) cached {
	t.Helper()
	c := cached{dir: t.TempDir()}
	var err error
	c.store, err = images.Open(c.dir)
	require.NoError(t, err)
	c.config, c.layer, c.other = c.blob(t, "config"), c.blob(t, "layer"), c.blob(t, "other")
	c.manifest = c.put(t, fmt.Sprintf(`{"config":{"digest":%q},"layers":[{"digest":%q},{"digest":%q}]}`,
		c.config, c.layer, digest.FromString("not here")))
	c.index = c.put(t, fmt.Sprintf(`{"manifests":[{"digest":%q},{"digest":%q}]}`,
		digest.FromString("arm64, not here"), c.manifest))
	return c
}

func (c cached) blob(t testing.TB, content string) digest.Digest {
	t.Helper()
	d := digest.FromString(content)
	path := c.store.BlobPath(d)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	require.NoError(t, os.Chtimes(path, landed, landed))
	return d
}

func (c cached) put(t testing.TB, manifest string) digest.Digest {
	t.Helper()
	d := digest.FromString(manifest)
	require.NoError(t, c.store.PutManifest(repo, d, "application/json", []byte(manifest)))
	require.NoError(t, os.Chtimes(c.store.BlobPath(d), landed, landed))
	return d
}

func (c cached) used(t testing.TB, d digest.Digest) time.Time {
	t.Helper()
	info, err := os.Stat(c.store.BlobPath(d))
	require.NoError(t, err)
	require.True(t, info.ModTime().Equal(landed), "the modification time stays")
	return time.Unix(info.Sys().(*syscall.Stat_t).Atim.Unix()).UTC()
}

// requireUsed says which blobs were used then, and that no other was.
func (c cached) requireUsed(t *testing.T, then time.Time, want ...digest.Digest) {
	t.Helper()
	var got []digest.Digest
	for _, d := range []digest.Digest{c.index, c.manifest, c.config, c.layer, c.other} {
		if used := c.used(t, d); used.Equal(then) {
			got = append(got, d)
		} else {
			require.True(t, used.Equal(landed), "%s was used at %s", d, used)
		}
	}
	require.ElementsMatch(t, want, got)
}

func record(kind string, d digest.Digest, at time.Time) accesslog.Record {
	return accesslog.Record{Time: at, Method: "GET", Kind: kind, Digest: string(d), Status: 200, Cache: accesslog.Hit}
}

func line(t testing.TB, r accesslog.Record) []byte {
	t.Helper()
	b, err := json.Marshal(r)
	require.NoError(t, err)
	return b
}

func TestWhatCountsAsUse(t *testing.T) {
	then := landed.Add(time.Hour)
	for name, c := range map[string]struct {
		change func(*accesslog.Record)
		use    bool
	}{
		"get":          {func(*accesslog.Record) {}, true},
		"head":         {func(r *accesslog.Record) { r.Method = "HEAD" }, true},
		"range":        {func(r *accesslog.Record) { r.Status = 206 }, true},
		"not modified": {func(r *accesslog.Record) { r.Status = 304 }, true},
		"moved":        {func(r *accesslog.Record) { r.Status = 307 }, false},
		"not found":    {func(r *accesslog.Record) { r.Status = 404 }, false},
		"failed":       {func(r *accesslog.Record) { r.Status = 503 }, false},
		"push":         {func(r *accesslog.Record) { r.Method = "PUT" }, false},
		"tags":         {func(r *accesslog.Record) { r.Kind = "tags" }, false},
		"referrers":    {func(r *accesslog.Record) { r.Kind = "referrers" }, false},
		"no digest":    {func(r *accesslog.Record) { r.Digest = "" }, false},
		"hostile":      {func(r *accesslog.Record) { r.Digest = "sha256:../../../../../../etc/passwd" }, false},
		"not here":     {func(r *accesslog.Record) { r.Digest = string(digest.FromString("none")) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newCached(t)
			u := newUses(s.store, zerolog.Nop(), newMetrics())
			r := record("blobs", s.layer, then)
			c.change(&r)
			u.record(r)
			if c.use {
				s.requireUsed(t, then, s.layer)
			} else {
				s.requireUsed(t, then)
			}
		})
	}
}

func TestAManifestCountsForTheImageAsFarAsItIsHere(t *testing.T) {
	then := landed.Add(time.Hour)
	c := newCached(t)
	u := newUses(c.store, zerolog.Nop(), newMetrics())
	u.record(record("manifests", c.manifest, then))
	c.requireUsed(t, then, c.manifest, c.config, c.layer)

	c = newCached(t)
	u = newUses(c.store, zerolog.Nop(), newMetrics())
	r := record("manifests", c.index, then)
	r.Reference = "latest"
	u.record(r)
	c.requireUsed(t, then, c.index, c.manifest, c.config, c.layer)
	require.EqualValues(t, 4, value(t, u.metrics.touches))
}

func TestABlobIsTouchedOnceInAWhile(t *testing.T) {
	c := newCached(t)
	u := newUses(c.store, zerolog.Nop(), newMetrics())
	first := landed.Add(time.Hour)
	for _, after := range []time.Duration{0, time.Second, again - 1} {
		u.record(record("manifests", c.manifest, first.Add(after)))
		u.record(record("blobs", c.layer, first.Add(after)))
		c.requireUsed(t, first, c.manifest, c.config, c.layer)
	}
	require.EqualValues(t, 3, value(t, u.metrics.touches))

	u.record(record("manifests", c.manifest, first.Add(again)))
	c.requireUsed(t, first.Add(again), c.manifest, c.config, c.layer)
}

func TestAUseInTheFutureIsOneOfNow(t *testing.T) {
	c := newCached(t)
	newUses(c.store, zerolog.Nop(), newMetrics()).record(record("blobs", c.layer, time.Now().Add(1000*time.Hour)))
	require.WithinDuration(t, time.Now(), c.used(t, c.layer), time.Minute)
}

func TestWhatAnIndexLists(t *testing.T) {
	c := newCached(t)
	u := newUses(c.store, zerolog.Nop(), newMetrics())
	for _, index := range []digest.Digest{c.index, c.index} { // read, then remembered
		require.True(t, u.listed(string(index), string(c.manifest)))
		require.False(t, u.listed(string(index), string(c.other)))
	}
	require.False(t, u.listed(string(c.manifest), string(c.layer)), "a layer is no manifest")
	for _, index := range []string{string(digest.FromString("not here")), "", "latest", "sha256:../../../../../../etc/passwd"} {
		require.True(t, u.listed(index, string(c.manifest)), "who knows")
	}
}

func TestAFailureToTouchIsReportedOnce(t *testing.T) {
	c := newCached(t)
	var report bytes.Buffer
	u := newUses(c.store, zerolog.New(&report), newMetrics())
	// A file where the directory should be fails like nothing else does.
	path := filepath.Dir(c.store.BlobPath(c.layer))
	require.NoError(t, os.RemoveAll(path))
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	u.record(record("blobs", c.layer, landed.Add(time.Hour)))
	u.record(record("blobs", c.layer, landed.Add(2*time.Hour)))
	require.EqualValues(t, 2, value(t, u.metrics.failed))
	require.Equal(t, 1, strings.Count(report.String(), "\n"), report.String())
	require.Contains(t, report.String(), "not a directory")
}

func value(t testing.TB, c prometheus.Metric) float64 {
	t.Helper()
	var m dto.Metric
	require.NoError(t, c.Write(&m))
	return m.GetCounter().GetValue()
}
