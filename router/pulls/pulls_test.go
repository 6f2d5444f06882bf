package pulls

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"registrycache/logger/accesslog"
	"registrycache/logger/logtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// entry is a line of the log.
type entry struct {
	Level, Message, Image, Digest, Upstream, Cache, Client, User string
	Bytes                                                        int64
	Duration                                                     float64
	Requests, Times                                              int
}

// site is a Log and what it wrote. It is used within synctest.
type site struct {
	t *testing.T
	*Log
	out logtest.Buffer
}

func newSite(t *testing.T) *site {
	s := &site{t: t}
	s.Log = New(zerolog.New(&s.out))
	t.Cleanup(s.Close)
	return s
}

// lines returns what was written since the last call.
func (s *site) lines() []entry {
	s.t.Helper()
	synctest.Wait()
	var all []entry
	for text := range strings.Lines(s.out.Take()) {
		var e entry
		require.NoError(s.t, json.Unmarshal([]byte(text), &e), text)
		require.Equal(s.t, "info", e.Level)
		require.Equal(s.t, "pulled", e.Message)
		all = append(all, e)
	}
	return all
}

// line returns the only one.
func (s *site) line() entry {
	s.t.Helper()
	all := s.lines()
	require.Len(s.t, all, 1)
	return all[0]
}

// remembered is how many pulls are.
func (s *site) remembered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, pulls := range s.open {
		n += len(pulls)
	}
	require.Len(s.t, s.order, n)
	require.Equal(s.t, n == 0, s.timer == nil, "something ticks while there is something to wait for")
	return n
}

// over waits until what ended now is over.
func over() { time.Sleep(3*time.Second + lookEvery) }

const repository = "quay.io/podman/hello"

var imageDigest, childDigest, layerDigest = of("image"), of("child"), of("layer")

func of(content string) string { return digest.FromString(content).String() }

// request is a GET from the same client by default.
func request(kind, reference string) *accesslog.Record {
	return &accesslog.Record{
		Time: time.Now(), RemoteAddr: "10.0.0.1:4711", Method: http.MethodGet, Kind: kind,
		Upstream: "quay.io", Repository: repository, Reference: reference,
	}
}

func manifest(reference string) *accesslog.Record { return request("manifests", reference) }
func blob(d string) *accesslog.Record             { return request("blobs", d) }

func head(r *accesslog.Record) *accesslog.Record { r.Method = http.MethodHead; return r }

func from(addr string, r *accesslog.Record) *accesslog.Record { r.RemoteAddr = addr; return r }

// ended completes a record.
func ended(r *accesslog.Record, status int, cache accesslog.CacheStatus, sent int64, d string) *accesslog.Record {
	r.Status, r.Cache, r.Bytes, r.Digest = status, cache, sent, d
	r.Duration = time.Since(r.Time).Seconds()
	return r
}

// takes is a request that takes so long.
func (s *site) takes(long time.Duration, r *accesslog.Record, status int, cache accesslog.CacheStatus, sent int64, d string, a Answer) {
	p := s.Begin(r)
	time.Sleep(long)
	s.End(p, ended(r, status, cache, sent, d), a)
}

// listing is a manifest that lists digests.
func listing(d string, list ...string) Answer {
	var manifests []string
	for _, m := range list {
		manifests = append(manifests, `{"digest":"`+m+`"}`)
	}
	return Answer{Contents: ContentsOf(d, []byte(`{"manifests":[`+strings.Join(manifests, ",")+`]}`))}
}

func TestLineOfAPull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		r := manifest("latest")
		r.User = "puller"
		s.takes(100*time.Millisecond, r, 200, accesslog.Miss, 500, imageDigest, Answer{})
		time.Sleep(2 * time.Second)
		assert.Empty(t, s.lines(), "more may come")
		r = from("10.0.0.1:4712", blob(layerDigest))
		r.User = "puller"
		s.takes(10*time.Minute, r, 200, accesslog.Miss, 1_000_000, layerDigest, Answer{})
		time.Sleep(2 * time.Second)
		assert.Empty(t, s.lines())
		over()
		e := s.line()
		assert.InDelta(t, 602.1, e.Duration, 0.001, "from the first begin to the last end")
		e.Duration = 0
		assert.Equal(t, entry{
			Level: "info", Message: "pulled", Image: repository + ":latest", Digest: imageDigest, Upstream: "quay.io",
			Cache: "miss", Client: "10.0.0.1", User: "puller", Bytes: 1_000_500, Requests: 2, Times: 1,
		}, e)
		time.Sleep(keep)
		assert.Empty(t, s.lines())
		assert.Zero(t, s.remembered())
	})
}

func TestCacheIsTheWorstOfTheAnswers(t *testing.T) {
	type answer struct {
		status int
		cache  accesslog.CacheStatus
	}
	for name, test := range map[string]struct {
		answers []answer
		cut     bool
		want    string
	}{
		"hit":                 {answers: []answer{{200, accesslog.Hit}}, want: "hit"},
		"revalidated":         {answers: []answer{{200, accesslog.Revalidated}, {200, accesslog.Hit}}, want: "hit"},
		"stale":               {answers: []answer{{200, accesslog.Stale}, {200, accesslog.Hit}}, want: "stale"},
		"miss":                {answers: []answer{{200, accesslog.Stale}, {200, accesslog.Miss}, {200, accesslog.Hit}}, want: "miss"},
		"collapsed":           {answers: []answer{{200, accesslog.Hit}, {200, accesslog.Collapsed}}, want: "miss"},
		"passed":              {answers: []answer{{200, accesslog.Passed}}, want: "miss"},
		"a range":             {answers: []answer{{206, accesslog.Hit}}, want: "hit"},
		"failed":              {answers: []answer{{200, accesslog.Miss}, {502, accesslog.Failed}, {200, accesslog.Hit}}, want: "failed"},
		"failed at once":      {answers: []answer{{503, accesslog.Failed}}, want: "failed"},
		"a missing signature": {answers: []answer{{200, accesslog.Hit}, {404, accesslog.Failed}}, want: "hit"},
		"broke off":           {answers: []answer{{200, accesslog.Hit}}, cut: true, want: "failed"},
		"left at once":        {answers: []answer{{499, accesslog.Local}}, cut: true, want: "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t)
				for i, a := range test.answers {
					r := manifest("latest")
					if i > 0 {
						r = blob(layerDigest)
					}
					s.Answered(ended(r, a.status, a.cache, 1, imageDigest), Answer{Cut: test.cut})
				}
				over()
				assert.Equal(t, test.want, s.line().Cache)
			})
		})
	}
}

func TestWhatIsNoPull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		for range 3 {
			s.Answered(ended(head(manifest("latest")), 200, accesslog.Revalidated, 0, imageDigest), Answer{})
			s.Answered(ended(manifest("none"), 404, accesslog.Failed, 100, ""), Answer{})
			s.Answered(ended(request("tags", ""), 200, accesslog.Miss, 100, ""), Answer{})
			s.Answered(ended(request("referrers", imageDigest), 200, accesslog.Miss, 100, ""), Answer{})
			s.Answered(ended(head(blob(layerDigest)), 200, accesslog.Hit, 0, layerDigest), Answer{})
			s.Answered(&accesslog.Record{Time: time.Now(), Method: http.MethodGet, Status: 200}, Answer{})
			push := manifest("latest")
			push.Method = http.MethodPut
			assert.Nil(t, s.Begin(push))
			s.End(nil, push, Answer{})
		}
		over()
		s.Answered(ended(blob(layerDigest), 200, accesslog.Hit, 100, layerDigest), Answer{})
		time.Sleep(keep)
		s.Answered(ended(blob(layerDigest), 200, accesslog.Hit, 100, layerDigest), Answer{})
		over()
		assert.Empty(t, s.lines())
		assert.Zero(t, s.remembered())
	})
}

// Some clients fetch a layer when they unpack it.
func TestBlobThatComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.Answered(ended(manifest("1"), 200, accesslog.Miss, 10, imageDigest), Answer{})
		over()
		assert.Equal(t, 1, s.line().Times)
		time.Sleep(keep / 2)
		s.takes(time.Second, blob(layerDigest), 200, accesslog.Hit, 100, layerDigest, Answer{})
		over()
		e := s.line()
		assert.Equal(t, repository+":1", e.Image)
		assert.Equal(t, imageDigest, e.Digest)
		assert.Equal(t, "hit", e.Cache)
		assert.EqualValues(t, 100, e.Bytes)
		assert.InDelta(t, 1, e.Duration, 0.001)
		assert.Zero(t, e.Times)

		s.Answered(ended(head(manifest("1")), 200, accesslog.Stale, 0, imageDigest), Answer{})
		over()
		s.takes(time.Second, manifest("1"), 200, accesslog.Hit, 10, imageDigest, Answer{})
		over()
		e = s.line()
		assert.Equal(t, 1, e.Times, "a pull as any other")
		assert.Equal(t, "hit", e.Cache)
		assert.InDelta(t, 1, e.Duration, 0.001)
	})
}

// containerd and dockerd ask what the tag is, and then get that.
func TestTagThatIsAskedForFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		for range 50 { // somebody looks for a new image, and there is none
			s.Answered(ended(head(manifest("latest")), 200, accesslog.Stale, 0, of("old")), Answer{})
			time.Sleep(2 * time.Second)
		}
		begin := time.Now()
		s.Answered(ended(head(manifest("latest")), 200, accesslog.Revalidated, 0, imageDigest), Answer{})
		time.Sleep(time.Second)
		s.Answered(ended(manifest(imageDigest), 200, accesslog.Hit, 10, imageDigest), listing(imageDigest, childDigest))
		s.Answered(ended(manifest(childDigest), 200, accesslog.Hit, 10, childDigest), Answer{})
		s.Answered(ended(blob(layerDigest), 200, accesslog.Hit, 10, layerDigest), Answer{})
		want := time.Since(begin).Seconds()
		over()
		e := s.line()
		assert.Equal(t, repository+":latest", e.Image)
		assert.Equal(t, imageDigest, e.Digest)
		assert.Equal(t, "hit", e.Cache, "what was before the pull is no part of it")
		assert.InDelta(t, want, e.Duration, 0.001)
		assert.Equal(t, 1, e.Times)
		assert.Equal(t, 4, e.Requests)
	})
}

func TestSameImageAgain(t *testing.T) {
	for name, pull := range map[string]func() []*accesslog.Record{
		"by tag": func() []*accesslog.Record { return []*accesslog.Record{manifest("1"), manifest(childDigest)} },
		"by digest": func() []*accesslog.Record {
			return []*accesslog.Record{head(manifest(imageDigest)), manifest(imageDigest)}
		},
		"as containerd does": func() []*accesslog.Record {
			return []*accesslog.Record{head(manifest("1")), manifest(imageDigest), manifest(childDigest)}
		},
		"by tag, and then what it is": func() []*accesslog.Record { return []*accesslog.Record{manifest("1"), manifest(imageDigest)} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t)
				requests := 0
				for range 3 {
					for _, r := range pull() {
						requests++
						d := imageDigest
						if r.Reference == childDigest {
							d = childDigest
						}
						s.Answered(ended(r, 200, accesslog.Hit, 10, d), listing(d, childDigest))
					}
					time.Sleep(time.Second)
				}
				over()
				e := s.line()
				assert.Equal(t, 3, e.Times)
				assert.Equal(t, requests, e.Requests)
			})
		})
	}
}

// An update of OpenShift pulls hundreds of images by digest from one repository.
func TestSeveralImagesOfARepository(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		a, b, unknown := of("a"), of("b"), of("unknown")
		s.Answered(ended(manifest(a), 200, accesslog.Hit, 1, a), listing(a, of("a1"), of("base")))
		s.Answered(ended(manifest(b), 200, accesslog.Hit, 10, b), listing(b, of("b1"), of("base")))
		s.Answered(ended(manifest("tag"), 200, accesslog.Hit, 100, of("c")), listing(of("c")))
		s.takes(10*time.Second, blob(of("a1")), 200, accesslog.Miss, 1000, of("a1"), Answer{})
		lines := s.lines()
		require.Len(t, lines, 2, "the first one has a blob under way")
		assert.Equal(t, repository+"@"+b, lines[0].Image)
		assert.Equal(t, b, lines[0].Digest)
		assert.Equal(t, "hit", lines[0].Cache)
		assert.EqualValues(t, 10, lines[0].Bytes)
		assert.Equal(t, repository+":tag", lines[1].Image)
		over()
		e := s.line()
		assert.Equal(t, repository+"@"+a, e.Image)
		assert.EqualValues(t, 1001, e.Bytes)
		assert.Equal(t, "miss", e.Cache)

		s.Answered(ended(manifest(a), 200, accesslog.Hit, 1, a), listing(a, of("a1"), of("base")))
		s.Answered(ended(manifest(b), 200, accesslog.Hit, 10, b), listing(b, of("b1"), of("base")))
		for _, d := range []string{of("base"), unknown} {
			s.Answered(ended(blob(d), 200, accesslog.Hit, 1000, d), Answer{})
		}
		over()
		lines = s.lines()
		require.Len(t, lines, 2)
		assert.EqualValues(t, 2010, lines[1].Bytes, "what belongs to both, or nobody knows, belongs to the newer one")
	})
}

// An index that nobody could look into may list any manifest.
func TestManifestOfAnUnknownIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.Answered(ended(manifest("1"), 200, accesslog.Hit, 1, imageDigest), Answer{})
		s.Answered(ended(manifest(childDigest), 200, accesslog.Hit, 1, childDigest), Answer{})
		over()
		assert.Equal(t, 2, s.line().Requests)
	})
}

func TestClientsAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		other := manifest("1")
		other.User = "other"
		for _, r := range []*accesslog.Record{
			from("10.0.0.1:1", manifest("1")), from("10.0.0.2:1", manifest("1")), from("[fd00::1]:1", manifest("1")), other,
		} {
			s.Answered(ended(r, 200, accesslog.Hit, 1, imageDigest), Answer{})
		}
		over()
		var clients []string
		for _, e := range s.lines() {
			clients = append(clients, e.Client+" "+e.User)
		}
		assert.Equal(t, []string{"10.0.0.1 ", "10.0.0.2 ", "fd00::1 ", "10.0.0.1 other"}, clients)
	})
}

func TestWhoNeverPausesGetsALineAMinute(t *testing.T) {
	for name, next := range map[string]func() *accesslog.Record{
		"the image again and again": func() *accesslog.Record { return manifest("latest") },
		"a blob in small pieces":    func() *accesslog.Record { return blob(layerDigest) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t)
				s.takes(time.Millisecond, manifest("latest"), 200, accesslog.Miss, 0, imageDigest, Answer{})
				for range 2000 {
					s.takes(100*time.Millisecond, next(), 200, accesslog.Hit, 1, imageDigest, Answer{})
				}
				over()
				lines := s.lines()
				require.Len(t, lines, 4)
				var bytes, requests int64
				for i, e := range lines {
					assert.Equal(t, repository+":latest", e.Image)
					assert.Equal(t, imageDigest, e.Digest)
					assert.Equal(t, []string{"miss", "hit", "hit", "hit"}[i], e.Cache)
					assert.InDelta(t, []float64{60, 60, 60, 20}[i], e.Duration, 2)
					bytes += e.Bytes
					requests += int64(e.Requests)
				}
				assert.EqualValues(t, 2000, bytes)
				assert.EqualValues(t, 2001, requests)
			})
		})
	}
}

func TestCloseWritesWhatIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		s.Answered(ended(manifest("1"), 200, accesslog.Hit, 1, imageDigest), Answer{})
		s.Close()
		assert.Equal(t, repository+":1", s.line().Image)
		s.Answered(ended(manifest("1"), 200, accesslog.Hit, 1, imageDigest), Answer{})
		s.Close()
		assert.Empty(t, s.lines())
	})
}

func TestOpenPullsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		first := manifest("first")
		p := s.Begin(first)
		for i := range maxOpenOfOne {
			s.Answered(ended(manifest(fmt.Sprint(i)), 200, accesslog.Hit, 1, imageDigest), Answer{})
		}
		assert.Empty(t, s.lines(), "the first one is under way")
		s.End(p, ended(first, 200, accesslog.Miss, 7, imageDigest), Answer{})
		e := s.line()
		assert.Equal(t, repository+":first", e.Image)
		assert.EqualValues(t, 7, e.Bytes)

		for i := range maxOpen {
			r := manifest("1")
			r.Repository = fmt.Sprint("quay.io/many/", i)
			s.Answered(ended(r, 200, accesslog.Hit, 1, imageDigest), Answer{})
		}
		require.Equal(t, maxOpen, s.remembered())
		early := s.lines()
		require.Len(t, early, maxOpenOfOne)
		assert.Equal(t, repository+":0", early[0].Image, "the oldest goes first")
		over()
		assert.Len(t, s.lines(), maxOpen)
		time.Sleep(keep)
		assert.Empty(t, s.lines())
		assert.Zero(t, s.remembered())
	})
}

func TestContents(t *testing.T) {
	image := fmt.Sprintf(`{"config":{"digest":%q},"layers":[{"digest":%q},{"digest":"nonsense"}]}`, of("config"), layerDigest)
	c := ContentsOf(imageDigest, []byte(image))
	require.NotNil(t, c)
	assert.True(t, c.lists(keyOf(of("config"))))
	assert.True(t, c.lists(keyOf(layerDigest)))
	assert.False(t, c.lists(keyOf(childDigest)))
	assert.Len(t, c.keys, 2)
	assert.Nil(t, ContentsOf(imageDigest, []byte("<html>")))
	assert.Nil(t, ContentsOf("", []byte(image)))
	many := strings.Repeat(`{"digest":"`+childDigest+`"},`, maxContents)
	assert.NotNil(t, ContentsOf(imageDigest, []byte(`{"manifests":[`+strings.TrimSuffix(many, ",")+`]}`)))
	assert.Nil(t, ContentsOf(imageDigest, []byte(`{"manifests":[`+many+`{"digest":"`+layerDigest+`"}]}`)))
}

func FuzzContents(f *testing.F) {
	f.Add(imageDigest, `{"config":{"digest":"`+layerDigest+`"},"layers":[{"digest":"sha512:00"}],"manifests":null}`, childDigest)
	f.Add("x", `{"layers":[{"digest":":"}]}`, ":")
	f.Fuzz(func(t *testing.T, of, manifest, asked string) {
		c := ContentsOf(of, []byte(manifest))
		if c == nil {
			return
		}
		require.LessOrEqual(t, len(c.keys), maxContents)
		c.lists(keyOf(asked))
	})
}

func BenchmarkAnswered(b *testing.B) {
	l := New(zerolog.Nop())
	defer l.Close()
	r := ended(manifest("latest"), 200, accesslog.Hit, 1600, imageDigest)
	a := listing(imageDigest, childDigest)
	b.ReportAllocs()
	for b.Loop() {
		l.Answered(r, a)
	}
}
