package warm

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"registrycache/logger/accesslog"
)

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
