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
			u := newUses(s.store, zerolog.Nop())
			r := record("blobs", s.layer, then)
			c.change(&r)
			u.line(line(t, r))
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
	u := newUses(c.store, zerolog.Nop())
	u.line(line(t, record("manifests", c.manifest, then)))
	c.requireUsed(t, then, c.manifest, c.config, c.layer)

	c = newCached(t)
	u = newUses(c.store, zerolog.Nop())
	r := record("manifests", c.index, then)
	r.Reference = "latest"
	u.line(line(t, r))
	c.requireUsed(t, then, c.index, c.manifest, c.config, c.layer)
	require.EqualValues(t, 4, value(t, u.metrics.touches))
}

func TestABlobIsTouchedOnceInAWhile(t *testing.T) {
	c := newCached(t)
	u := newUses(c.store, zerolog.Nop())
	first := landed.Add(time.Hour)
	for _, after := range []time.Duration{0, time.Second, again - 1} {
		u.line(line(t, record("manifests", c.manifest, first.Add(after))))
		u.line(line(t, record("blobs", c.layer, first.Add(after))))
		c.requireUsed(t, first, c.manifest, c.config, c.layer)
	}
	require.EqualValues(t, 3, value(t, u.metrics.touches))

	u.line(line(t, record("manifests", c.manifest, first.Add(again))))
	c.requireUsed(t, first.Add(again), c.manifest, c.config, c.layer)
}

func TestAUseInTheFutureIsOneOfNow(t *testing.T) {
	c := newCached(t)
	newUses(c.store, zerolog.Nop()).line(line(t, record("blobs", c.layer, time.Now().Add(1000*time.Hour))))
	require.WithinDuration(t, time.Now(), c.used(t, c.layer), time.Minute)
}

func TestLinesAreCounted(t *testing.T) {
	c := newCached(t)
	u := newUses(c.store, zerolog.Nop())
	u.line([]byte(`{"time":`))
	u.line(line(t, record("catalog", "", landed)))
	u.line(line(t, record("catalog", "", landed)))
	for range 3 {
		u.line(line(t, record("blobs", c.layer, landed)))
	}
	for kind, want := range map[string]int{"damaged": 1, "other": 2, "use": 3} {
		require.EqualValues(t, want, value(t, u.metrics.lines.WithLabelValues(kind)), kind)
	}
}

func TestAFailureToTouchIsReportedOnce(t *testing.T) {
	c := newCached(t)
	var report bytes.Buffer
	u := newUses(c.store, zerolog.New(&report))
	// A file where the directory should be fails like nothing else does.
	path := filepath.Dir(c.store.BlobPath(c.layer))
	require.NoError(t, os.RemoveAll(path))
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	u.line(line(t, record("blobs", c.layer, landed.Add(time.Hour))))
	u.line(line(t, record("blobs", c.layer, landed.Add(2*time.Hour))))
	require.EqualValues(t, 2, value(t, u.metrics.failed))
	require.Equal(t, 1, strings.Count(report.String(), "\n"), report.String())
	require.Contains(t, report.String(), "not a directory")
}

func TestGenerationsForgetTheOldestHalf(t *testing.T) {
	g := newGenerations[int, string](10)
	for i := range 1000 {
		g.put(i, fmt.Sprint(i), 1)
		require.LessOrEqual(t, len(g.young)+len(g.old), 20)
		for back := range min(i, 10) {
			v, ok := g.get(i - back)
			require.True(t, ok)
			require.Equal(t, fmt.Sprint(i-back), v)
		}
	}
	_, ok := g.get(0)
	require.False(t, ok)

	g = newGenerations[int, string](10)
	g.put(0, "kept", 1)
	for i := 1; i < 100; i++ {
		v, ok := g.get(0)
		require.True(t, ok)
		g.put(0, v, 1)
		g.put(i, "", 4)
	}
	g.put(100, "larger than all", 50)
	_, ok = g.get(100)
	require.True(t, ok)
}

func value(t testing.TB, c prometheus.Metric) float64 {
	t.Helper()
	var m dto.Metric
	require.NoError(t, c.Write(&m))
	return m.GetCounter().GetValue()
}

func BenchmarkLine(b *testing.B) {
	c := newCached(b)
	u := newUses(c.store, zerolog.Nop())
	l := line(b, record("manifests", c.index, landed.Add(time.Hour)))
	b.ReportAllocs()
	for b.Loop() {
		u.line(l)
	}
}
