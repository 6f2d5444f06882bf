package warm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"

	"registrycache/logger/accesslog"
)

// inBubble runs f where waiting takes no time.
func inBubble(t *testing.T, f func(t *testing.T, cache *fakeCache)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newFake()) })
}

func (f *fakeCache) run(t *testing.T, o Options, names ...string) Report {
	t.Helper()
	if o.Platforms == nil {
		o.Platforms = amd64
	}
	report, err := Run(t.Context(), f.connect(), parse(t, names...), o)
	require.NoError(t, err)
	require.Len(t, report.Images, len(names))
	return report
}

func TestRunFetchesWhatIsNotHere(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeCache) {
		shared, own := f.blob(make([]byte, 2*step+5)), f.blob([]byte("own"))
		f.image(t, "quay.io/a", "1", shared, own)
		f.image(t, "quay.io/b", "1", shared)
		f.image(t, "quay.io/a", "2", shared)
		first := f.run(t, Options{Jobs: 1}, "quay.io/a:1", "quay.io/b:1", "quay.io/a:2")
		require.Zero(t, first.Failed())
		const config = int64(len("config of quay.io/a1"))
		a, b, other := first.Images[0], first.Images[1], first.Images[2]
		require.Equal(t, 3, a.Blobs)
		require.Equal(t, shared.Size+own.Size+config, a.Size)
		require.Equal(t, a.Size, a.Fetched)
		require.Zero(t, a.Here)
		require.Equal(t, config, other.Fetched)
		require.Equal(t, shared.Size, b.Here, "it came along")
		require.Equal(t, shared.Size, other.Here, "the layer counts for the image that came first")
		require.Equal(t, 2, b.Blobs)
		// Each at the end of a step, and the last byte.
		var ranges []string
		for _, r := range f.requests {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/quay.io/a/blobs/"+shared.Digest.String()) {
				ranges = append(ranges, r.Header.Get("Range"))
			}
		}
		require.Equal(t, []string{"bytes=4194303-4194303", "bytes=8388607-8388607", "bytes=8388612-8388612"}, ranges)

		gets := f.count(http.MethodGet, shared.Digest.String())
		second := f.run(t, Options{}, "quay.io/a:1", "quay.io/b:1", "quay.io/a:2")
		for _, image := range second.Images {
			require.NoError(t, image.Err)
			require.Zero(t, image.Fetched)
			require.Equal(t, image.Size, image.Here)
		}
		require.Equal(t, gets, f.count(http.MethodGet, shared.Digest.String()))
	})
}

// A layer that another repository has brought needs only the upstream's word.
func TestRunFetchesABlobOnceForAllRepositories(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeCache) {
		layer := f.blob([]byte("layer"))
		f.image(t, "quay.io/a", "1", layer)
		f.image(t, "quay.io/b", "1", layer)
		report := f.run(t, Options{}, "quay.io/a:1", "quay.io/b:1")
		require.Zero(t, report.Failed())
		require.Equal(t, layer.Size, report.Images[0].Here+report.Images[1].Here)
		require.Equal(t, 1, f.count(http.MethodGet, layer.Digest.String()))
	})
}

func TestDryRunFetchesNoBlob(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeCache) {
		here, missing := f.blob([]byte("here")), f.blob([]byte("missing"))
		f.image(t, "quay.io/a", "1", here, missing)
		f.stored[needKey{"quay.io/a", here.Digest}] = true
		report := f.run(t, Options{DryRun: true}, "quay.io/a:1")
		require.NoError(t, report.Images[0].Err)
		require.Equal(t, here.Size, report.Images[0].Here)
		require.Equal(t, report.Images[0].Size-here.Size, report.Images[0].Fetched)
		for _, r := range f.requests {
			require.False(t, r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/"), "%s", r.URL)
		}

		f.image(t, "quay.io/b", "1", here, missing)
		report = f.run(t, Options{DryRun: true}, "quay.io/a:1", "quay.io/b:1")
		require.Equal(t, here.Size+missing.Size, report.Images[1].Here, "it will be here then")

		lost := f.blob([]byte("lost"))
		f.image(t, "quay.io/a", "2", lost)
		delete(f.blobs, lost.Digest)
		report = f.run(t, Options{DryRun: true}, "quay.io/a:2")
		require.ErrorContains(t, report.Images[0].Err, "404 Not Found")
	})
}

func TestRunTriesAgain(t *testing.T) {
	status := func(status int, fields ...string) fault {
		return func(*http.Request) (*http.Response, error) {
			answer := refusal(status, "UNAVAILABLE", "not now")
			for i := 0; i < len(fields); i += 2 {
				answer.Header.Set(fields[i], fields[i+1])
			}
			return answer, nil
		}
	}
	body := func(code int, content io.Reader) fault {
		return func(*http.Request) (*http.Response, error) {
			answer := response(code, accesslog.Miss, nil)
			answer.Body = io.NopCloser(content)
			if code == http.StatusPartialContent {
				answer.Header.Set("Content-Range", "bytes 4-4/5")
			}
			return answer, nil
		}
	}
	for name, c := range map[string]struct {
		fault  fault
		atMost time.Duration
		least  time.Duration
	}{
		"500":                            {status(500), 2 * time.Second, 0},
		"502 of a proxy":                 {status(502), 2 * time.Second, 0},
		"429 that says when":             {status(429, "Retry-After", "40"), 41 * time.Second, 40 * time.Second},
		"no answer":                      {func(*http.Request) (*http.Response, error) { return nil, errReset }, 2 * time.Second, 0},
		"a cut byte":                     {body(206, strings.NewReader("")), 2 * time.Second, 0},
		"a whole that is cut":            {body(200, broken{strings.NewReader("lay")}), 2 * time.Second, 0},
		"a whole where asked for a byte": {body(200, strings.NewReader("layer")), 40 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fakeCache) {
				layer := f.blob([]byte("layer"))
				f.image(t, "quay.io/a", "1", layer)
				f.fail(http.MethodGet, layer.Digest.String(), c.fault)
				begun := time.Now()
				if strings.HasPrefix(name, "a whole where") {
					f.fail(http.MethodHead, layer.Digest.String(), nil, func(*http.Request) (*http.Response, error) {
						return response(http.StatusOK, accesslog.Hit, nil), nil
					})
				}
				report := f.run(t, Options{}, "quay.io/a:1")
				require.NoError(t, report.Images[0].Err)
				require.Equal(t, report.Images[0].Size, report.Images[0].Fetched)
				require.LessOrEqual(t, time.Since(begun), c.atMost)
				require.GreaterOrEqual(t, time.Since(begun), c.least)
			})
		})
	}
}

func TestRunSaysWhyItFailed(t *testing.T) {
	again := func(n int, f fault) (all []fault) {
		for range n {
			all = append(all, f)
		}
		return all
	}
	answer := func(f func() *http.Response) fault {
		return func(*http.Request) (*http.Response, error) { return f(), nil }
	}
	for name, c := range map[string]struct {
		faults []fault
		gets   int
		says   string
	}{
		"not there":  {again(1, answer(func() *http.Response { return refusal(404, "BLOB_UNKNOWN", "no\x1bsuch blob") })), 1, "404 Not Found: no?such blob"},
		"forbidden":  {again(1, answer(func() *http.Response { return refusal(403, "DENIED", "not for you") })), 1, "not for you"},
		"never well": {again(tries, answer(func() *http.Response { return refusal(503, "UNAVAILABLE", "upstream is down") })), tries, "upstream is down"},
		"later than one waits": {again(1, answer(func() *http.Response {
			r := refusal(429, "TOOMANYREQUESTS", "rate limit")
			r.Header.Set("Retry-After", "3600")
			return r
		})), 1, "rate limit; it wants to be asked again in 1h0m0s"},
		"a redirection": {again(1, answer(func() *http.Response {
			r := response(301, accesslog.Local, nil)
			r.Header.Set("Location", "https://cache.local/")
			return r
		})), 1, "it redirects to https://cache.local/"},
		"another range": {again(1, answer(func() *http.Response {
			r := response(206, accesslog.Miss, []byte("l"))
			r.Header.Set("Content-Range", "bytes 0-0/5")
			return r
		})), 1, `answers with "bytes 0-0/5"`},
		"a shorter blob": {again(1, answer(func() *http.Response { return response(416, accesslog.Miss, nil) })), 1, "shorter than the 5 bytes"},
		"a longer whole": {again(1, answer(func() *http.Response { return response(200, accesslog.Miss, []byte("longer")) })), 1, "has 6 bytes, and the manifest says 5"},
		"not stored": {again(1, answer(func() *http.Response {
			r := response(206, accesslog.Passed, []byte("r"))
			r.Header.Set("Content-Range", "bytes 4-4/5")
			return r
		})), 1, "no room to keep it"},
		"no cache": {again(1, answer(func() *http.Response {
			r := response(200, accesslog.Passed, []byte("layer"))
			r.Header.Del(accesslog.HeaderName)
			return r
		})), 1, "no registry-cache"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fakeCache) {
				layer := f.blob([]byte("layer"))
				f.image(t, "quay.io/a", "1", layer)
				f.image(t, "quay.io/b", "1", f.blob([]byte("other")))
				f.fail(http.MethodGet, layer.Digest.String(), c.faults...)
				report := f.run(t, Options{}, "quay.io/a:1", "quay.io/b:1")
				require.ErrorContains(t, report.Images[0].Err, c.says)
				require.ErrorContains(t, report.Images[0].Err, "blob "+short(layer.Digest))
				require.Equal(t, c.gets, f.count(http.MethodGet, layer.Digest.String()))
				require.NoError(t, report.Images[1].Err, "the others are warmed")
				require.Equal(t, 1, report.Failed())
			})
		})
	}
}

// The cache gives out the last byte and then has no room.
func TestRunDoesNotBelieveTheLastByteAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeCache) {
		f.image(t, "quay.io/a", "1", f.blob([]byte("layer")))
		f.full = true
		report := f.run(t, Options{}, "quay.io/a:1")
		require.ErrorIs(t, report.Images[0].Err, errNotStored)
		require.ErrorContains(t, report.Images[0].Err, "(and 1 more)")
		require.Zero(t, report.Images[0].Fetched)
	})
}

// What was pushed to the cache itself needs no warming.
func TestRunOfWhatWasPushed(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeCache) {
		f.image(t, "local/app", "1", f.blob([]byte("layer")))
		for d := range f.blobs {
			f.fail(http.MethodHead, d.String(), func(*http.Request) (*http.Response, error) {
				return response(200, accesslog.Local, nil), nil
			})
		}
		image := f.run(t, Options{}, "local/app:1").Images[0]
		require.NoError(t, image.Err)
		require.Equal(t, image.Size, image.Here)
	})
}

// It takes the cache a moment to put a blob in its place.
func TestRunWaitsForTheCacheToStore(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeCache) {
		layer := f.blob([]byte("layer"))
		f.image(t, "quay.io/a", "1", layer)
		notYet := func(*http.Request) (*http.Response, error) { return response(200, accesslog.Passed, nil), nil }
		f.fail(http.MethodHead, layer.Digest.String(), notYet, notYet, notYet, notYet)
		require.NoError(t, f.run(t, Options{}, "quay.io/a:1").Images[0].Err)
	})
}

// When the cache is gone nothing is tried image by image.
func TestRunEndsWhenTheCacheIsGone(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeCache) {
		refused := func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
		}
		var names []string
		for _, name := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
			f.image(t, "quay.io/"+name, "1")
			names = append(names, "quay.io/"+name+":1")
		}
		for range 1000 {
			f.fail(http.MethodGet, "1", refused)
		}
		begun := time.Now()
		report := f.run(t, Options{Jobs: 2}, names...)
		require.Equal(t, len(names), report.Failed())
		for _, image := range report.Images {
			require.ErrorContains(t, image.Err, "the cache can't be reached: dial")
		}
		require.Less(t, time.Since(begun), 2*time.Minute)

		f.fail(http.MethodGet, "/v2/", refused, refused, refused, refused, refused, refused)
		_, err := Run(t.Context(), f.connect(), parse(t, "a"), Options{})
		require.ErrorContains(t, err, "http://"+testCache+": the cache can't be reached: dial")
	})
}

func TestRunWantsACache(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeCache) {
		f.fail(http.MethodGet, "/v2/", func(*http.Request) (*http.Response, error) {
			answer := response(200, accesslog.Local, nil)
			answer.Header.Set(accesslog.HeaderName, "nginx; hit")
			return answer, nil
		})
		_, err := Run(t.Context(), f.connect(), parse(t, "a"), Options{})
		require.ErrorIs(t, err, errNoCache)
		// Another cache before it may say something, too.
		f.fail(http.MethodGet, "/v2/", func(*http.Request) (*http.Response, error) {
			answer := response(200, accesslog.Local, nil)
			answer.Header.Set(accesslog.HeaderName, "registry-cache; detail=local, nginx; fwd=miss")
			return answer, nil
		})
		_, err = Run(t.Context(), f.connect(), nil, Options{})
		require.NoError(t, err)
	})
}

// An upstream that is down holds up only its own images.
func TestRunFetchesWhileOthersFail(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeCache) {
		down := func(*http.Request) (*http.Response, error) {
			return refusal(503, "UNAVAILABLE", "upstream is down"), nil
		}
		var names []string
		for _, name := range []string{"down.io/a:1", "down.io/b:1", "down.io/c:1"} {
			names = append(names, name)
			for range tries {
				f.fail(http.MethodGet, "/"+strings.Replace(name, ":", "/manifests/", 1), down)
			}
		}
		f.image(t, "quay.io/a", "1", f.blob([]byte("layer")))
		watch := &recorder{}
		report := f.run(t, Options{Jobs: 1, Watcher: watch}, append(names, "quay.io/a:1")...)
		require.Equal(t, 3, report.Failed())
		require.NoError(t, report.Images[3].Err)
		require.True(t, watch.early, "the good one was fetched before the others were given up")
		require.Equal(t, "quay.io/a:1", watch.done[0])
		require.Less(t, report.Took, time.Minute, "they fail side by side")
	})
}

// Blobs that can't be had hold up no others.
func TestRunFetchesWhileOtherBlobsFail(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeCache) {
		bad, good := f.blob([]byte("bad")), f.blob([]byte("good"))
		f.image(t, "down.io/a", "1", bad)
		f.image(t, "quay.io/a", "1", good)
		for range tries {
			f.fail(http.MethodGet, bad.Digest.String(), func(*http.Request) (*http.Response, error) {
				return refusal(503, "UNAVAILABLE", "upstream is down"), nil
			})
		}
		watch := &recorder{}
		report := f.run(t, Options{Jobs: 1, Watcher: watch}, "down.io/a:1", "quay.io/a:1")
		require.Equal(t, 1, report.Failed())
		require.Equal(t, []string{"quay.io/a:1", "down.io/a:1"}, watch.done)
	})
}

// A blob that another image of the list has failed to get, or has got, is not
// asked for anew when an image is looked up late.
func TestRunSharesWithImagesThatAreLookedUpLate(t *testing.T) {
	for name, lost := range map[string]bool{"got": false, "lost": true} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, f *fakeCache) {
				layer := f.blob([]byte("layer"))
				f.image(t, "quay.io/a", "1", layer)
				f.image(t, "quay.io/a", "2", layer)
				if lost {
					delete(f.blobs, layer.Digest)
				}
				f.fail(http.MethodGet, "/manifests/1", func(*http.Request) (*http.Response, error) {
					return refusal(503, "UNAVAILABLE", "not now"), nil
				})
				watch := &recorder{}
				report := f.run(t, Options{Watcher: watch}, "quay.io/a:1", "quay.io/a:2")
				require.Equal(t, []string{"quay.io/a:2", "quay.io/a:1"}, watch.done)
				require.Equal(t, 1, f.count(http.MethodGet, layer.Digest.String()))
				if lost {
					require.Equal(t, 2, report.Failed())
					return
				}
				require.Zero(t, report.Failed())
				require.Equal(t, report.Images[0].Size, report.Images[0].Fetched, "counted for the first in the list")
				require.Equal(t, layer.Size, report.Images[1].Here)
			})
		})
	}
}

// The other repository has to be asked about in its own name when the first had
// no luck, and that counts.
func TestRunTriesABlobForTheNextRepository(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeCache) {
		layer := f.blob([]byte("layer"))
		f.image(t, "quay.io/a", "1", layer)
		f.image(t, "quay.io/b", "1", layer)
		f.fail(http.MethodGet, "quay.io/a/blobs/"+layer.Digest.String(), func(*http.Request) (*http.Response, error) {
			return refusal(403, "DENIED", "not for you"), nil
		})
		watch := &recorder{}
		report := f.run(t, Options{Jobs: 1, Watcher: watch}, "quay.io/a:1", "quay.io/b:1")
		require.ErrorContains(t, report.Images[0].Err, "not for you")
		require.NoError(t, report.Images[1].Err)
		const config = int64(len("config of quay.io/a1"))
		require.Equal(t, 2*(config+layer.Size), watch.sizes[len(watch.sizes)-1])
	})
}

func TestRunIsInterrupted(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeCache) {
		first, second := f.blob([]byte("first")), f.blob([]byte("second"))
		f.image(t, "quay.io/a", "1", first)
		f.image(t, "quay.io/b", "1", second)
		ctx, cancel := context.WithCancel(t.Context())
		f.fail(http.MethodGet, second.Digest.String(), func(r *http.Request) (*http.Response, error) {
			cancel()
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		report, err := Run(ctx, f.connect(), parse(t, "quay.io/a:1", "quay.io/b:1"), Options{Jobs: 1, Platforms: amd64})
		require.NoError(t, err)
		require.NoError(t, report.Images[0].Err)
		require.Equal(t, ErrInterrupted, report.Images[1].Err)

		again := f.run(t, Options{}, "quay.io/a:1", "quay.io/b:1")
		require.Zero(t, again.Failed())
		require.Zero(t, again.Images[0].Fetched)
		require.Equal(t, second.Size, again.Images[1].Fetched, "its config was here")
	})
}

func TestRunKeepsToItsJobs(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeCache) {
		var names []string
		for _, name := range strings.Split("abcdefghij", "") {
			f.image(t, "quay.io/"+name, "1", f.blob([]byte(name)))
			names = append(names, "quay.io/"+name+":1")
		}
		// Each lookup and each fetch takes a second, so that they meet.
		slow := func(*http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return nil, nil
		}
		for d := range f.blobs {
			f.fail(http.MethodGet, d.String(), slow)
		}
		for range names {
			f.fail(http.MethodGet, "/manifests/1", slow)
		}
		require.Zero(t, f.run(t, Options{Jobs: 3}, names...).Failed())
		require.Equal(t, 3, f.manifestLoad.most)
		require.Equal(t, 3, f.blobLoad.most)
	})
}

func TestRunOfAnIndex(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeCache) {
		entry := func(tag, platform string) v1.Descriptor {
			d := f.image(t, "quay.io/a", tag, f.blob([]byte("layer of "+tag)))
			if platform != "" {
				d.Platform = entries(platform)[0].Platform
			}
			return d
		}
		versioned := specs.Versioned{SchemaVersion: 2}
		inner := f.put(t, "quay.io/a", "inner", v1.MediaTypeImageIndex, v1.Index{
			Versioned: versioned, Manifests: []v1.Descriptor{entry("deep", "linux/amd64"), entry("deep-arm", "linux/arm64")},
		})
		f.put(t, "quay.io/a", "1", dockerIndex, v1.Index{Versioned: versioned, Manifests: []v1.Descriptor{
			entry("amd", "linux/amd64"), entry("arm", "linux/arm64/v8"), entry("attested", "unknown/unknown"), inner,
		}})
		one := f.run(t, Options{}, "quay.io/a:1").Images[0]
		require.NoError(t, one.Err)
		require.Equal(t, []string{"linux/amd64"}, one.Platforms)
		require.Equal(t, 4, one.Blobs, "two images of a config and a layer")

		two := f.run(t, Options{Platforms: []Platform{amd64[0], {"linux", "s390x", ""}}}, "quay.io/a:1").Images[0]
		require.NoError(t, two.Err)
		require.Equal(t, []string{"there is nothing for linux/s390x", "there is nothing for linux/s390x"}, two.Notes)

		report, err := Run(t.Context(), f.connect(), parse(t, "quay.io/a:1"), Options{})
		require.NoError(t, err)
		require.Equal(t, 10, report.Images[0].Blobs)
		require.Equal(t, []string{"linux/amd64", "linux/arm64/v8", "linux/arm64"}, report.Images[0].Platforms)
	})
}

func TestRunOfUnusualManifests(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeCache) {
		layer := f.blob([]byte("layer"))
		foreign := v1.Descriptor{
			MediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Digest: f.blob([]byte("windows")).Digest, Size: 7,
			URLs: []string{"https://mcr.microsoft.com/x"},
		}
		f.image(t, "quay.io/windows", "1", foreign, layer)
		f.put(t, "quay.io/artifact", "1", "application/vnd.example+json", map[string]any{"schemaVersion": 2, "blobs": []v1.Descriptor{layer, layer}})
		f.put(t, "quay.io/empty", "1", v1.MediaTypeImageManifest, map[string]any{"layers": []v1.Descriptor{f.blob(nil)}})
		f.put(t, "quay.io/old", "1", "application/vnd.docker.distribution.manifest.v1+json", map[string]any{"schemaVersion": 1})
		f.put(t, "quay.io/bad", "1", v1.MediaTypeImageManifest, map[string]any{"layers": []any{map[string]any{"digest": "../../etc", "size": 1}}})
		f.put(t, "quay.io/negative", "1", v1.MediaTypeImageManifest, map[string]any{"layers": []any{map[string]any{"digest": someDigest, "size": -1}}})
		f.put(t, "quay.io/text", "1", v1.MediaTypeImageManifest, "text")
		self := f.put(t, "quay.io/lost", "1", v1.MediaTypeImageIndex, map[string]any{"manifests": []any{map[string]any{"digest": someDigest, "size": 1}}})
		f.manifests["quay.io/other "+self.Digest.String()] = []byte("{}")

		report := f.run(t, Options{}, "quay.io/windows:1", "quay.io/artifact:1", "quay.io/empty:1", "quay.io/old:1",
			"quay.io/bad:1", "quay.io/negative:1", "quay.io/text:1", "quay.io/lost:1", "quay.io/other@"+self.Digest.String())
		var errs []string
		for _, image := range report.Images {
			text := ""
			if image.Err != nil {
				text = image.Err.Error()
			}
			errs = append(errs, text)
		}
		require.Equal(t, []string{"", "", ""}, errs[:3])
		require.Equal(t, 2, report.Images[0].Blobs)
		require.Contains(t, report.Images[0].Notes[0], "1 foreign layer")
		require.Equal(t, 1, report.Images[1].Blobs)
		require.Contains(t, errs[3], "schema 1")
		require.Contains(t, errs[4], `names "../../etc"`)
		require.Contains(t, errs[5], "has -1 bytes")
		require.Contains(t, errs[6], "can't be read")
		require.Contains(t, errs[7], "manifest sha256:e3b0c44298fc: 404 Not Found")
		require.Contains(t, errs[8], "is not "+self.Digest.String())
	})
}

// An index that lists itself over and over under other names ends, too.
func TestRunOfAnEndlessIndex(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeCache) {
		d := f.image(t, "quay.io/a", "bottom", f.blob([]byte("x")))
		for range maxDepth + 2 {
			d = f.put(t, "quay.io/a", "1", v1.MediaTypeImageIndex, v1.Index{Manifests: []v1.Descriptor{d}})
		}
		require.ErrorContains(t, f.run(t, Options{}, "quay.io/a:1").Images[0].Err, "deeper")
	})
}

// recorder is a Watcher that remembers.
type recorder struct {
	Unwatched
	mu    sync.Mutex
	sizes []int64
	begun []string
	done  []string
	at    []int64
	ended int
	// early says that a blob ended while others were looked up.
	early   bool
	looking bool
}

func (r *recorder) LookedUp(done, known int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looking = done < known
}

func (r *recorder) Fetching(size int64) { r.sizes = append(r.sizes, size) }
func (r *recorder) ImageBegun(name string, _ int, _ int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun = append(r.begun, name)
}
func (r *recorder) ImageDone(result Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = append(r.done, result.Image.Name)
}
func (r *recorder) BlobAt(_ Blob, done int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = append(r.at, done)
}
func (r *recorder) BlobDone(Blob, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended++
	r.early = r.early || r.looking
}

func TestRunTellsHowFarItIs(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fakeCache) {
		layer := f.blob(bytes.Repeat([]byte("x"), 2*step+1))
		f.image(t, "quay.io/a", "1", layer)
		f.image(t, "quay.io/b", "1", layer)
		watch := &recorder{}
		f.run(t, Options{Jobs: 1, Watcher: watch}, "quay.io/a:1", "quay.io/b:1", "quay.io/none:1")
		const config = int64(len("config of quay.io/a1"))
		require.Equal(t, []int64{config, config + layer.Size, layer.Size + 2*config}, watch.sizes, "the layer comes once")
		require.Equal(t, []string{"quay.io/a:1", "quay.io/b:1"}, watch.begun)
		require.ElementsMatch(t, []string{"quay.io/none:1", "quay.io/a:1", "quay.io/b:1"}, watch.done)
		require.Equal(t, []int64{config, step, 2 * step, 2*step + 1}, watch.at[:4])
		require.GreaterOrEqual(t, watch.ended, 3)
	})
}
