package router

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/logger/accesslog"
)

var someDigest = digest.FromString("some blob").String()

func TestWorkerGetsTheCanonicalRequestAndNothingElse(t *testing.T) {
	c := newCache(t)
	seen := make(chan *http.Request, 1)
	c.worker("quay.io", func(_ http.ResponseWriter, r *http.Request) { seen <- r })
	c.start()
	for _, path := range []string{
		"/v2/quay.io/podman/hello/tags/list?x=1",
		"/v2/q/podman/hello/tags/list?x=1",
		"/v2/podman/hello/tags/list?ns=quay.io&x=1",
		"/v2/quay.io/podman/hello/tags/list?ns=quay.io&x=1",
	} {
		c.do(c.request(http.MethodGet, path, http.Header{
			"Accept":              {"application/a", "application/b;q=0.5, application/c"},
			"Range":               {"bytes=0-5"},
			"If-Range":            {`"x"`},
			"If-None-Match":       {`"y"`},
			"User-Agent":          {"podman/5"},
			"Authorization":       {"Basic c2VjcmV0OnNlY3JldA=="},
			"Proxy-Authorization": {"Basic c2VjcmV0OnNlY3JldA=="},
			"Cookie":              {"a=b"},
			"Accept-Encoding":     {"gzip"},
			"X-Accel-Redirect":    {someDigest},
			"X-Accel-Refused":     {"1"},
			"X-Forwarded-For":     {"1.2.3.4"},
			"X-Forwarded-Proto":   {"https"},
			"Forwarded":           {"for=1.2.3.4"},
			"Connection":          {"Accept"}, // hop-by-hop tricks drop nothing
		}))
		r := <-seen
		assert.Equal(t, http.MethodGet, r.Method)
		assert.Equal(t, "/v2/quay.io/podman/hello/tags/list?x=1", r.RequestURI)
		assert.Equal(t, http.Header{
			"Accept":        {"application/a", "application/b;q=0.5, application/c"},
			"Range":         {"bytes=0-5"},
			"If-Range":      {`"x"`},
			"If-None-Match": {`"y"`},
			"User-Agent":    {"podman/5"},
		}, r.Header)
	}
	c.do(c.request(http.MethodHead, "/v2/q/a/tags/list", http.Header{"User-Agent": {""}}))
	r := <-seen
	assert.Equal(t, http.MethodHead, r.Method)
	assert.Empty(t, r.Header, "nothing of our own either")
}

func TestClientGetsWhatIsForClients(t *testing.T) {
	c := newCache(t)
	c.worker("quay.io", func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range map[string]string{
			"Content-Type":          "application/vnd.oci.image.index.v1+json",
			"Docker-Content-Digest": someDigest,
			"Etag":                  `"` + someDigest + `"`,
			"Link":                  `</v2/quay.io/a/tags/list?last=b&n=1>; rel="next"`,
			"Cache-Control":         "max-age=60",
			"Cache-Status":          accesslog.Revalidated.Header(),
			"Oci-Filters-Applied":   "artifactType",
			"Retry-After":           "3",
			"X-Accel-Buffering":     "no",
			"Www-Authenticate":      `Bearer realm="https://upstream.example"`,
			"Set-Cookie":            "a=b",
			"Location":              "http://elsewhere.example",
			"Server":                "worker",
		} {
			w.Header().Set(name, value)
		}
		_, _ = io.WriteString(w, "{}")
	})
	c.start()
	response, body := c.get("/v2/quay.io/a/tags/list?n=1")
	response.Header.Del("Date")
	assert.Equal(t, "{}", body)
	assert.Equal(t, http.Header{
		"Content-Type":                    {"application/vnd.oci.image.index.v1+json"},
		"Content-Length":                  {"2"},
		"Docker-Content-Digest":           {someDigest},
		"Docker-Distribution-Api-Version": {"registry/2.0"},
		"Etag":                            {`"` + someDigest + `"`},
		"Link":                            {`</v2/quay.io/a/tags/list?last=b&n=1>; rel="next"`},
		"Cache-Control":                   {"max-age=60"},
		"Cache-Status":                    {accesslog.Revalidated.Header()},
		"Oci-Filters-Applied":             {"artifactType"},
		"Retry-After":                     {"3"},
	}, response.Header)

	response, body = c.do(c.request(http.MethodHead, "/v2/quay.io/a/tags/list?n=1", nil))
	assert.Equal(t, int64(2), response.ContentLength)
	assert.Empty(t, body)
}

func TestErrorsOfTheWorkerPassThrough(t *testing.T) {
	c := newCache(t)
	c.worker("quay.io", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, "quay.io is down")
	})
	c.start()
	response, body := c.get("/v2/quay.io/a/manifests/1")
	assert.Equal(t, http.StatusBadGateway, response.StatusCode)
	assert.Equal(t, "quay.io is down", body)
	assert.Equal(t, accesslog.Failed.Header(), response.Header.Get("Cache-Status"))
	assert.NotContains(t, c.log.String(), "warn", "the worker has reported it")
}

func TestBodyStreamsAsItArrives(t *testing.T) {
	c := newCache(t)
	more := make(chan struct{})
	c.worker("quay.io", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "first")
		assert.NoError(t, http.NewResponseController(w).Flush())
		select {
		case <-more:
		case <-time.After(patience):
		}
		_, _ = io.WriteString(w, "later")
	})
	c.start()
	response, err := c.client.Do(c.request(http.MethodGet, "/v2/quay.io/a/blobs/"+someDigest, nil))
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	part := make([]byte, 5)
	_, err = io.ReadFull(response.Body, part)
	require.NoError(t, err)
	assert.Equal(t, "first", string(part), "before the worker sent the rest")
	close(more)
	rest, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	assert.Equal(t, "later", string(rest))
}

func TestCutBodyNeverEndsCleanly(t *testing.T) {
	for name, length := range map[string]string{"with a length": "1000", "chunked": ""} {
		t.Run(name, func(t *testing.T) {
			c := newCache(t)
			c.worker("quay.io", func(w http.ResponseWriter, _ *http.Request) {
				if length != "" {
					w.Header().Set("Content-Length", length)
				}
				_, _ = io.WriteString(w, "only this")
				assert.NoError(t, http.NewResponseController(w).Flush())
				panic(http.ErrAbortHandler)
			})
			c.start()
			response, err := c.client.Do(c.request(http.MethodGet, "/v2/quay.io/a/blobs/"+someDigest, nil))
			require.NoError(t, err)
			defer func() { _ = response.Body.Close() }()
			body, err := io.ReadAll(response.Body)
			assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
			assert.Equal(t, "only this", string(body))

			record := c.records(1)[0]
			assert.Equal(t, http.StatusOK, record.Status)
			assert.Equal(t, int64(9), record.Bytes)
			assert.Contains(t, c.log.String(), "broke off")
		})
	}
}

func TestClientThatLeavesCancelsTheWorkersRequest(t *testing.T) {
	c := newCache(t)
	asked, cancelled := make(chan struct{}), make(chan struct{})
	c.worker("quay.io", func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		select {
		case <-r.Context().Done():
			close(cancelled)
		case <-time.After(patience):
		}
	})
	c.start()
	ctx, leave := context.WithCancel(t.Context())
	go func() { <-asked; leave() }()
	_, err := c.client.Do(c.request(http.MethodGet, "/v2/quay.io/a/manifests/1", nil).WithContext(ctx))
	require.ErrorIs(t, err, context.Canceled)
	select {
	case <-cancelled:
	case <-time.After(patience):
		t.Fatal("the worker goes on for nobody")
	}
	assert.Equal(t, 499, c.records(1)[0].Status, "nothing was answered")
	assert.NotContains(t, c.log.String(), "warn")
}

func TestWorkerWithoutASocketIsUnavailable(t *testing.T) {
	c := newCache(t)
	c.worker("docker.io", text("fine"))
	c.start()
	response, body := c.get("/v2/quay.io/a/manifests/1")
	assert.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	assert.Equal(t, accesslog.Failed.Header(), response.Header.Get("Cache-Status"))
	requireError(t, body, errcode.ErrorCodeUnavailable, "quay.io")
	assert.Contains(t, c.log.String(), "no such file", "the cause is in the log")
	assert.NotContains(t, body, "sock", "and not in the answer")

	_, body = c.get("/v2/docker.io/a/manifests/1")
	assert.Equal(t, "fine", body, "others go on")
}

func TestWorkerThatComesBackIsAskedAgain(t *testing.T) {
	c := newCache(t)
	c.tune.retryWaits = make([]time.Duration, 10)
	for i := range c.tune.retryWaits {
		c.tune.retryWaits[i] = patience / 10
	}
	c.tune.retryWaits[0] = 0
	var tries atomic.Int64
	c.worker("quay.io", counter(&tries, func(w http.ResponseWriter, _ *http.Request) {
		if tries.Load() == 1 {
			panic(http.ErrAbortHandler) // killed before it answered
		}
		_, _ = io.WriteString(w, "hello")
	}))
	c.start()
	response, body := c.get("/v2/quay.io/a/manifests/1")
	assert.Equal(t, http.StatusOK, response.StatusCode)
	assert.Equal(t, "hello", body)
	assert.Equal(t, int64(2), tries.Load())
}

func TestWorkerThatAlwaysCutsIsUnavailable(t *testing.T) {
	c := newCache(t)
	var tries atomic.Int64
	c.worker("quay.io", counter(&tries, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	c.start()
	response, _ := c.get("/v2/quay.io/a/manifests/1")
	assert.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	assert.Equal(t, int64(3), tries.Load(), "a request that kills workers must not kill many")
}

func TestSilentWorkerIsNotAskedTwice(t *testing.T) {
	c := newCache(t)
	c.tune.answerTimeout = 10 * time.Millisecond
	var tries atomic.Int64
	c.worker("quay.io", counter(&tries, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	c.start()
	response, body := c.get("/v2/quay.io/a/manifests/1")
	assert.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	requireError(t, body, errcode.ErrorCodeUnavailable, "quay.io")
	assert.Equal(t, int64(1), tries.Load())
}

func TestSocketThatOutlivesItsWorkerQueuesRequests(t *testing.T) {
	c := newCache(t)
	listener, err := net.Listen("unix", filepath.Join(c.dir, "quay.io.sock"))
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	c.start()
	got := make(chan string)
	go func() { _, body := c.get("/v2/quay.io/a/manifests/1"); got <- body }()
	// Only now does the new worker begin to accept.
	server := &http.Server{Handler: text("queued"), ReadHeaderTimeout: patience}
	defer func() { _ = server.Close() }()
	go func() { _ = server.Serve(listener) }()
	assert.Equal(t, "queued", <-got)
}

func TestRoutesComeAndGoUnderLoad(t *testing.T) {
	c := newCache(t)
	c.worker("quay.io", text("quay"))
	c.worker("gcr.io", text("gcr"))
	c.start()
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for ctx.Err() == nil {
				response, err := c.client.Do(c.request(http.MethodGet, "/v2/quay.io/a/manifests/1", nil))
				if !assert.NoError(t, err) {
					return
				}
				body, err := io.ReadAll(response.Body)
				assert.NoError(t, err)
				assert.Equal(t, "quay", string(body))
				_ = response.Body.Close()
			}
		})
	}
	base := c.settings.Routes
	with := append(slices.Clone(base), c.route("gcr.io"))
	for range 10 {
		c.update(func(s *config.Router) { s.Routes = with })
		response, body := c.get("/v2/gcr.io/a/manifests/1")
		assert.Equal(t, http.StatusOK, response.StatusCode, body)
		c.update(func(s *config.Router) { s.Routes = base })
		response, body = c.get("/v2/gcr.io/a/manifests/1")
		assert.Equal(t, http.StatusNotFound, response.StatusCode)
		requireError(t, body, errcode.ErrorCodeNameUnknown, "this cache serves docker.io, quay.io")
	}
	cancel()
	clients.Wait()
}

func TestShutdownFinishesWhatIsInFlight(t *testing.T) {
	c := newCache(t)
	asked, release := make(chan struct{}), make(chan struct{})
	c.worker("quay.io", func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-release
		_, _ = io.WriteString(w, "whole")
	})
	c.start()
	got := make(chan string, 1)
	go func() { _, body := c.get("/v2/quay.io/a/manifests/1"); got <- body }()
	<-asked
	stopped := make(chan error, 1)
	go func() { stopped <- c.stop() }()
	c.eventually(func() bool {
		conn, err := net.Dial("tcp", c.address())
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	close(release)
	assert.Equal(t, "whole", <-got)
	require.NoError(t, <-stopped)
	assert.Len(t, c.records(1), 1, "the log was flushed")
}

func TestConcurrentClientsGetTheirOwnAnswers(t *testing.T) {
	c := newCache(t)
	echo := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat(r.URL.Path+"\n", 3000))
	}
	c.worker("quay.io", echo)
	c.worker("docker.io", echo)
	c.start()
	var clients sync.WaitGroup
	for i := range 32 {
		clients.Go(func() {
			path := fmt.Sprintf("/v2/%s/org/r%d/manifests/1", []string{"quay.io", "docker.io"}[i%2], i)
			response, err := c.client.Do(c.request(http.MethodGet, path, nil))
			if !assert.NoError(t, err) {
				return
			}
			body, err := io.ReadAll(response.Body)
			assert.NoError(t, errors.Join(err, response.Body.Close()))
			assert.True(t, string(body) == strings.Repeat(path+"\n", 3000), path)
		})
	}
	clients.Wait()
}

func TestLostListenerIsAnError(t *testing.T) {
	c := newCache(t)
	lose := func() { assert.NoError(t, c.listener.Close()) }
	err := Run(t.Context(), c.settings, nil, c.listener, testLogger(c), c.metrics, lose)
	require.ErrorContains(t, err, "accept clients")
}
