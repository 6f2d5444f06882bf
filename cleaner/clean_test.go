package cleaner

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/images"
)

const (
	repo      = "quay.io/podman/hello"
	blobBytes = 64 << 10
)

// madeStore is a cleaner an hour ahead of its store, whose blobs would be too
// new otherwise: nothing can set back when a file was changed.
type madeStore struct {
	cleaner
	dir    string
	report *bytes.Buffer
	reg    *prometheus.Registry
}

func newStore(t testing.TB) *madeStore {
	t.Helper()
	return newStoreIn(t, t.TempDir())
}

func newStoreIn(t testing.TB, dir string) *madeStore {
	t.Helper()
	s := &madeStore{dir: dir, report: &bytes.Buffer{}, reg: prometheus.NewPedanticRegistry()}
	store, err := images.Open(s.dir)
	require.NoError(t, err)
	metrics, err := newMetrics(s.reg, store)
	require.NoError(t, err)
	s.cleaner = newCleaner(store)
	s.log, s.metrics, s.growth = zerolog.New(s.report), metrics, store.Growth()
	s.now = func() time.Time { return time.Now().Add(time.Hour) }
	return s
}

// layer stores a blob of 64 KiB used so many hours ago, and links it.
func (s *madeStore) layer(t testing.TB, name string, hours int) digest.Digest {
	t.Helper()
	d := s.blob(t, name, hours)
	require.NoError(t, s.store.Link(repo, images.Layer, d))
	return d
}

func (s *madeStore) blob(t testing.TB, name string, hours int) digest.Digest {
	t.Helper()
	content := bytes.Repeat([]byte(name), blobBytes/len(name)+1)[:blobBytes]
	d := digest.FromBytes(content)
	path := s.store.BlobPath(d)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, content, 0o600))
	s.used(t, d, hours)
	return d
}

func (s *madeStore) manifest(t testing.TB, kind string, hours int, needs ...digest.Digest) digest.Digest {
	t.Helper()
	var list []string
	for _, d := range needs {
		list = append(list, fmt.Sprintf(`{"digest":%q}`, d))
	}
	m := fmt.Sprintf(`{%q:[%s],"mediaType":"x"}`, kind, strings.Join(list, ","))
	d := digest.FromString(m)
	require.NoError(t, s.store.PutManifest(repo, d, "x", []byte(m)))
	require.NoError(t, s.store.SetTag(repo, "t"+d.Encoded()[:8], d))
	s.used(t, d, hours)
	return d
}

func (s *madeStore) used(t testing.TB, d digest.Digest, hours int) {
	t.Helper()
	require.NoError(t, os.Chtimes(s.store.BlobPath(d), time.Now().Add(-time.Duration(hours)*time.Hour), time.Now()))
}

func (s *madeStore) here(d digest.Digest) bool {
	_, err := s.store.StatBlob(d)
	return err == nil
}

// bytes is what the store takes.
func (s *madeStore) bytes(t testing.TB) int64 {
	t.Helper()
	u, err := take(context.Background(), s.store, s.now())
	require.NoError(t, err)
	return u.bytes
}

// run is a look, which walks the store as if a day had passed.
func (s *madeStore) run(t *testing.T, set config.Cleaner) Report {
	t.Helper()
	s.walked = time.Time{}
	r, err := s.look(context.Background(), set)
	require.NoError(t, err)
	return r
}

func (s *madeStore) metric(t *testing.T, name string) float64 {
	t.Helper()
	families, err := s.reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == name {
			sum := 0.0
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
			return sum
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestCleanEvictsTheOldestImageWhole(t *testing.T) {
	s := newStore(t)
	shared := s.layer(t, "shared", 100)
	oldLayer, newLayer := s.layer(t, "old", 99), s.layer(t, "new", 98)
	old := s.manifest(t, "layers", 20, oldLayer, shared)
	recent := s.manifest(t, "layers", 10, newLayer, shared)
	index := s.manifest(t, "manifests", 20, old)

	before := s.bytes(t)
	r := s.run(t, config.Cleaner{MaxSize: before - blobBytes/2})
	require.Zero(t, r.Missing)
	require.Equal(t, []Evicted{{
		Name: repo + ":t" + index.Encoded()[:8], Size: blobBytes + 2*4096, Used: r.Images[0].Used, Why: OverLimit,
	}}, r.Images)
	require.Zero(t, r.Loose)
	for d, want := range map[digest.Digest]bool{
		index: false, old: false, oldLayer: false, recent: true, newLayer: true, shared: true,
	} {
		require.Equal(t, want, s.here(d), d)
	}
	require.LessOrEqual(t, s.bytes(t), before-blobBytes/2)

	// What led to it is gone too, and nothing else.
	require.True(t, s.store.HasLink(repo, images.Manifest, recent))
	require.False(t, s.store.HasLink(repo, images.Manifest, old))
	require.False(t, s.store.HasLink(repo, images.Layer, oldLayer))
	tags, err := s.store.Tags(repo)
	require.NoError(t, err)
	require.Equal(t, []string{"t" + recent.Encoded()[:8]}, tags)

	require.EqualValues(t, s.bytes(t), s.metric(t, "registry_cache_store_bytes"))
	require.EqualValues(t, before-s.bytes(t), s.metric(t, "registry_cache_evicted_bytes_total"))
	require.EqualValues(t, 3, s.metric(t, "registry_cache_evictions_total"))
	require.Equal(t, 1, strings.Count(s.report.String(), "\n"))
	for _, field := range []string{`"level":"info"`, `"before":"`, `"after":"`, `"evicted":3`, `"images":["` + repo + `:t`, `"oldest_use":"`, `"newest_use":"`, `"took":"`} {
		require.Contains(t, s.report.String(), field)
	}
}

func TestSizesAreWhatTheDiskGives(t *testing.T) {
	s := newStore(t)
	before := s.bytes(t)
	sparse := s.blob(t, "mostly a hole", 100)
	require.NoError(t, os.Truncate(s.store.BlobPath(sparse), 1<<40))
	require.EqualValues(t, blobBytes, s.bytes(t)-before)
	r := s.run(t, config.Cleaner{MaxSize: s.bytes(t)})
	require.Zero(t, r.Blobs, "a terabyte it is not")
}

func TestCleanDoesNothingBelowTheThreshold(t *testing.T) {
	s := newStore(t)
	d := s.layer(t, "a", 100)
	s.run(t, config.Cleaner{MaxSize: s.bytes(t) - 1, ThresholdPercent: 1, MaxAge: 200 * time.Hour})
	require.True(t, s.here(d))
	require.Contains(t, s.report.String(), `"evicted":0`)
}

func TestCleanEvictsWhatNobodyUsedForLong(t *testing.T) {
	s := newStore(t)
	old, recent := s.layer(t, "old", 100), s.layer(t, "recent", 98)
	used := s.layer(t, "of a recent image", 200)
	s.manifest(t, "layers", 1, used)
	s.run(t, config.Cleaner{MaxSize: 1 << 40, MaxAge: 100 * time.Hour}) // the clock is an hour on
	require.False(t, s.here(old))
	require.True(t, s.here(recent))
	require.True(t, s.here(used))
}

func TestCleanMakesRoomOnTheDisk(t *testing.T) {
	s := newStore(t)
	old, recent := s.layer(t, "old", 100), s.layer(t, "recent", 98)
	// More than any disk has: everything goes, and it is said that it is not
	// enough.
	r := s.run(t, config.Cleaner{MaxSize: 1 << 40, MinFreePercent: 100})
	require.Positive(t, r.Missing)
	require.Zero(t, r.Young)
	require.EqualValues(t, 2*blobBytes, r.Loose)
	require.False(t, s.here(old))
	require.False(t, s.here(recent))
	require.Contains(t, s.report.String(), `"level":"warn"`)
	require.Contains(t, s.report.String(), `"missing":"`)
}

func TestCleanLeavesTheNewAndFillsAlone(t *testing.T) {
	s := newStore(t)
	old := s.layer(t, "old", 100)
	fresh := s.layer(t, "fresh", 200)
	fill := filepath.Join(s.store.FillDir(digest.FromString("x")), "data")
	require.NoError(t, os.MkdirAll(filepath.Dir(fill), 0o755))
	require.NoError(t, os.WriteFile(fill, make([]byte, blobBytes), 0o600))
	require.GreaterOrEqual(t, s.bytes(t), int64(3*blobBytes), "fills count")

	s.now = time.Now
	r := s.run(t, config.Cleaner{MaxSize: 1})
	require.EqualValues(t, 2*blobBytes, r.Young, "worth another look")
	require.Positive(t, r.Missing)
	require.True(t, s.here(old))
	require.True(t, s.here(fresh))

	s.now = func() time.Time { return time.Now().Add(time.Hour) }
	r = s.run(t, config.Cleaner{MaxSize: 1})
	require.Zero(t, r.Young, "fills won't go soon")
	require.False(t, s.here(old))
	require.False(t, s.here(fresh))
	require.FileExists(t, fill)
}

// Nor does a clock that was wrong once keep anything for years.
func TestCleanEvictsWhatLandedInTheFuture(t *testing.T) {
	s := newStore(t)
	future, used := s.layer(t, "future", 0), s.layer(t, "used", 1)
	setLanded(t, s, future, time.Now().AddDate(10, 0, 0))
	r := s.run(t, config.Cleaner{MaxSize: 1})
	require.Zero(t, r.Missing)
	require.False(t, s.here(future))
	require.False(t, s.here(used))
}

func TestCleanKeepsWhatAManifestThatHasJustLandedNeeds(t *testing.T) {
	s := newStore(t)
	needed, other := s.layer(t, "needed", 100), s.layer(t, "other", 100)
	u, err := take(context.Background(), s.store, s.now())
	require.NoError(t, err)
	s.manifest(t, "layers", 100, needed)
	p, _, err := u.plan(context.Background(), config.Cleaner{})
	require.NoError(t, err)
	var gone []digest.Digest
	p.choose(goal{reclaim: 1 << 40}, func(batch []choice) []bool {
		for _, one := range batch {
			gone = append(gone, u.Digest(one.blob))
		}
		return all(batch)
	})
	require.Equal(t, []digest.Digest{other}, gone)
}

func TestCleanGoesOnWhereABlobCanNotBeRemoved(t *testing.T) {
	s := newStore(t)
	stuck, other := s.layer(t, "stuck", 100), s.layer(t, "other", 50)
	path := s.store.BlobPath(stuck)
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.MkdirAll(filepath.Join(path, "not empty"), 0o755))
	require.NoError(t, os.Chtimes(path, time.Now().Add(-100*time.Hour), time.Now()))
	s.run(t, config.Cleaner{MaxSize: 1})
	require.False(t, s.here(other))
	require.Contains(t, s.report.String(), `"failed":1`)
	require.Contains(t, s.report.String(), stuck.Encoded())
}

func TestWhatWentIsReportedWhateverFailsThen(t *testing.T) {
	s := newStore(t)
	_, layer := s.image(t, repo, "v1", 100)
	link := filepath.Join(s.dir, "docker/registry/v2/repositories", repo, string(images.Layer), "sha256", layer.Encoded(), "link")
	require.NoError(t, os.Remove(link))
	require.NoError(t, os.MkdirAll(filepath.Join(link, "not a link"), 0o755))
	r, err := s.look(context.Background(), config.Cleaner{MaxSize: 1})
	require.ErrorContains(t, err, link)
	require.Equal(t, []string{repo + ":v1"}, names(r.Images))
	require.Contains(t, s.report.String(), `"images":["`+repo+`:v1"]`)
}

func TestCleanStopsWithTheContext(t *testing.T) {
	s := newStore(t)
	d := s.layer(t, "a", 100)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.look(ctx, config.Cleaner{MaxSize: 1})
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, s.here(d))
}

func TestWhatWasLeftByAKillIsSweptAtTheStart(t *testing.T) {
	s := newStore(t)
	set := config.Cleaner{MaxSize: 1 << 40}
	look := func() {
		_, err := s.look(context.Background(), set)
		require.NoError(t, err)
	}
	d := s.layer(t, "a", 100)
	require.NoError(t, os.Remove(s.store.BlobPath(d)))
	look()
	require.False(t, s.store.HasLink(repo, images.Layer, d))

	require.NoError(t, s.store.Link(repo, images.Layer, d))
	look()
	require.True(t, s.store.HasLink(repo, images.Layer, d), "not at every look")
	s.now = func() time.Time { return time.Now().Add(26 * time.Hour) }
	look()
	require.False(t, s.store.HasLink(repo, images.Layer, d), "but daily")
}

func setLanded(t testing.TB, s *madeStore, d digest.Digest, at time.Time) {
	t.Helper()
	require.NoError(t, os.Chtimes(s.store.BlobPath(d), at, at))
}
