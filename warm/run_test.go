package warm

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
