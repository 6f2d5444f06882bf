package router

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/distribution/v3/registry/auth/token"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
	"registrycache/images"
)

// newHosted prepares a router for docker.io, quay.io, and pushes to local/.
func newHosted(t *testing.T, push ...string) *cache {
	t.Helper()
	c := newCache(t)
	route := c.route("local")
	route.Hosted, route.Push = true, push
	c.settings.Routes = append(c.settings.Routes, route)
	return c
}

func (c *cache) send(method, path string, body io.Reader, header ...string) (*http.Response, string) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, "http://"+c.address()+path, body)
	require.NoError(c.t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return c.do(r)
}

func TestAPushGoesToTheHostedWorker(t *testing.T) {
	c := newHosted(t)
	type got struct {
		method, uri string
		header      http.Header
		length      int64
		body        digest.Digest
	}
	var last atomic.Pointer[got]
	c.worker("local", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if !assert.NoError(t, err) {
			return
		}
		last.Store(&got{r.Method, r.RequestURI, r.Header, r.ContentLength, digest.FromBytes(body)})
		w.Header().Set("Location", "/v2/local/app/blobs/uploads/u1?_state=s")
		w.Header().Set("Docker-Upload-UUID", "u1")
		w.Header().Set("Range", "0-4")
		w.Header().Set("OCI-Subject", "sha256:s")
		w.Header().Set("OCI-Chunk-Min-Length", "5")
		w.Header().Set("X-Secret", "no")
		w.WriteHeader(http.StatusAccepted)
	})
	c.start()

	response, _ := c.send("POST", "/v2/local/app/blobs/uploads/?ns=", nil, "Authorization", "Basic eDp5", "Cookie", "c")
	assert.Equal(t, http.StatusAccepted, response.StatusCode)
	assert.Equal(t, "/v2/local/app/blobs/uploads/u1?_state=s", response.Header.Get("Location"))
	for name, value := range map[string]string{
		"Docker-Upload-UUID": "u1", "Range": "0-4", "OCI-Subject": "sha256:s", "OCI-Chunk-Min-Length": "5", "X-Secret": "",
	} {
		assert.Equal(t, value, response.Header.Get(name), name)
	}
	assert.Equal(t, "/v2/local/app/blobs/uploads/", last.Load().uri)
	assert.Empty(t, last.Load().header.Get("Authorization")+last.Load().header.Get("Cookie"))

	content := make([]byte, 3<<20)
	_, _ = rand.Read(content)
	for name, body := range map[string]io.Reader{
		"known length": strings.NewReader(string(content)), "chunked": io.MultiReader(strings.NewReader(string(content))),
	} {
		response, _ = c.send("PATCH", response.Header.Get("Location"), body, "Content-Type", "application/octet-stream", "Content-Range", "0-3145727")
		require.Equal(t, http.StatusAccepted, response.StatusCode, name)
		assert.Equal(t, digest.FromBytes(content), last.Load().body, name)
		assert.Equal(t, "/v2/local/app/blobs/uploads/u1?_state=s", last.Load().uri)
		assert.Equal(t, "0-3145727", last.Load().header.Get("Content-Range"))
		assert.Equal(t, "application/octet-stream", last.Load().header.Get("Content-Type"))
		length := int64(len(content))
		if name == "chunked" {
			length = -1
		}
		assert.Equal(t, length, last.Load().length, name)
	}
	response, _ = c.send("DELETE", "/v2/local/app/manifests/1", nil)
	assert.Equal(t, http.StatusAccepted, response.StatusCode)
	assert.Equal(t, "DELETE", last.Load().method)
	response, _ = c.get("/v2/local/app/blobs/uploads/u1")
	assert.Equal(t, "0-4", response.Header.Get("Range"), "where an upload stands is asked with GET")

	records := c.records(5)
	assert.Equal(t, "uploads", records[0].Kind)
	assert.Equal(t, "local/app", records[0].Repository)
	assert.Equal(t, "local", records[0].Upstream)
}

func TestAnUploadStreams(t *testing.T) {
	c := newHosted(t)
	arrived := make(chan string)
	c.worker("local", func(w http.ResponseWriter, r *http.Request) {
		piece := make([]byte, 5)
		for range 2 {
			_, err := io.ReadFull(r.Body, piece)
			assert.NoError(t, err)
			arrived <- string(piece)
		}
		w.WriteHeader(http.StatusAccepted)
	})
	c.start()
	body, write := io.Pipe()
	done := make(chan int)
	go func() {
		response, _ := c.send("PATCH", "/v2/local/app/blobs/uploads/u1", body)
		done <- response.StatusCode
	}()
	_, _ = io.WriteString(write, "first")
	assert.Equal(t, "first", <-arrived, "before the rest is there")
	_, _ = io.WriteString(write, "later")
	assert.Equal(t, "later", <-arrived)
	require.NoError(t, write.Close())
	assert.Equal(t, http.StatusAccepted, <-done)
}

func TestAnUploadThatBreaksOffDoesSoForTheWorker(t *testing.T) {
	c := newHosted(t)
	began, ended := make(chan struct{}), make(chan error, 1)
	c.worker("local", func(_ http.ResponseWriter, r *http.Request) {
		_, _ = r.Body.Read(make([]byte, 1))
		close(began)
		_, err := io.Copy(io.Discard, r.Body)
		ended <- err
	})
	c.start()
	conn := c.dial()
	_, err := io.WriteString(conn, "PATCH /v2/local/app/blobs/uploads/u1 HTTP/1.1\r\nHost: c\r\nContent-Length: 100\r\n\r\nabc")
	require.NoError(t, err)
	<-began
	require.NoError(t, conn.Close())
	require.Error(t, <-ended, "a part is not taken for the whole")
}

func TestAClientThatAsksBeforeItSends(t *testing.T) {
	for _, wanted := range []bool{true, false} {
		c := newHosted(t)
		c.worker("local", func(w http.ResponseWriter, r *http.Request) {
			if wanted {
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(http.StatusCreated)
				return
			}
			w.WriteHeader(http.StatusNotFound)
		})
		c.start()
		conn := c.dial()
		_, err := io.WriteString(conn, "PUT /v2/local/app/blobs/uploads/u1?digest=x HTTP/1.1\r\nHost: c\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
		require.NoError(t, err)
		answers := bufio.NewReader(conn)
		first, err := answers.ReadString('\n')
		require.NoError(t, err)
		if !wanted {
			assert.Contains(t, first, "404")
			continue
		}
		assert.Contains(t, first, "100 Continue")
		_, err = io.WriteString(conn, "body")
		require.NoError(t, err)
		_, err = answers.ReadString('\n')
		require.NoError(t, err)
		response, err := http.ReadResponse(answers, nil)
		require.NoError(t, err)
		assert.Equal(t, http.StatusCreated, response.StatusCode)
	}
}

func TestAnEarlyRefusalDoesNotWaitForTheBody(t *testing.T) {
	c := newHosted(t)
	c.worker("local", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	c.start()
	conn := c.dial()
	_, err := io.WriteString(conn, "PATCH /v2/local/app/blobs/uploads/u1 HTTP/1.1\r\nHost: c\r\nContent-Length: 1000000\r\n\r\nabc")
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	assert.Equal(t, http.StatusNotFound, response.StatusCode)
	assert.True(t, response.Close)
}

// A connection that carried bodies goes on to carry requests, whatever was in
// the bodies.
func TestABodyIsNeverARequest(t *testing.T) {
	c := newHosted(t)
	var bodies atomic.Int64
	c.worker("local", func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		bodies.Add(n)
		w.WriteHeader(http.StatusAccepted)
	})
	c.worker("quay.io", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, "manifest")
	})
	c.start()
	conn := c.dial()
	answers := bufio.NewReader(conn)
	const request = "GET /v2/quay.io/a/manifests/1 HTTP/1.1\r\nHost: c\r\n\r\n"
	for i := range 3 {
		_, err := fmt.Fprintf(conn, "PATCH /v2/local/app/blobs/uploads/u1 HTTP/1.1\r\nHost: c\r\nContent-Length: %d\r\n\r\n", len(request)+i)
		require.NoError(t, err)
		for _, piece := range []string{"\n\n"[:i], request} {
			_, err = io.WriteString(conn, piece)
			require.NoError(t, err)
		}
		response, err := http.ReadResponse(answers, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusAccepted, response.StatusCode)
		_, err = io.WriteString(conn, request)
		require.NoError(t, err)
		response, err = http.ReadResponse(answers, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.Equal(t, "manifest", string(body))
	}
	assert.EqualValues(t, 3*len(request)+3, bodies.Load())
}

func TestPushedContentIsNotRemembered(t *testing.T) {
	c := newHosted(t)
	store, err := images.Open(images.HostedDir(c.settings.StoreDir))
	require.NoError(t, err)
	c.store = store
	d := c.blob("a layer")
	var asked atomic.Int64
	c.worker("local", counter(&asked, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-cache")
		if strings.Contains(r.URL.Path, "/blobs/") {
			w.Header().Set("X-Accel-Redirect", d.String())
			return
		}
		_, _ = fmt.Fprint(w, asked.Load())
	}))
	c.start()
	for _, want := range []string{"1", "2"} {
		_, body := c.get("/v2/local/app/manifests/1")
		assert.Equal(t, want, body)
	}
	for range 2 {
		response, body := c.get("/v2/local/app/blobs/" + d.String())
		assert.Equal(t, "a layer", body)
		assert.Empty(t, response.Header.Get("X-Accel-Redirect"))
	}
	assert.EqualValues(t, 4, asked.Load())
	part, body := c.send("GET", "/v2/local/app/blobs/"+d.String(), nil, "Range", "bytes=2-")
	assert.Equal(t, http.StatusPartialContent, part.StatusCode)
	assert.Equal(t, "layer", body)
}

func TestPushesElsewhereAreRefused(t *testing.T) {
	c := newHosted(t).start()
	for path, says := range map[string]string{
		"/v2/quay.io/org/app/blobs/uploads/":      "push to the upstream registry itself, or to names below local/ here",
		"/v2/org/app/manifests/1":                 "push to the upstream registry itself",
		"/v2/local/app/blobs/uploads/?ns=quay.io": "push to the upstream registry itself",
		"/v2/": "not supported",
		"/":    "not supported",
		"/v2/quay.io/org/app/blobs/uploads/abc?a=": "push to the upstream registry itself",
	} {
		response, body := c.send("PUT", path, strings.NewReader("body"))
		assert.Equal(t, http.StatusMethodNotAllowed, response.StatusCode, path)
		assert.Equal(t, "GET, HEAD", response.Header.Get("Allow"))
		requireError(t, body, errcode.ErrorCodeUnsupported, says)
	}
	response, _ := c.send("PURGE", "/v2/local/app/manifests/1", nil)
	assert.Equal(t, http.StatusMethodNotAllowed, response.StatusCode)
	response, body := c.send("PUT", "/v2/local/app/manifests/.x", strings.NewReader("body"))
	assert.Equal(t, http.StatusBadRequest, response.StatusCode)
	requireError(t, body, errcode.ErrorCodeTagInvalid, "invalid")
}

func TestWhoMayPush(t *testing.T) {
	c := newHosted(t, "ann")
	c.settings.Auth = htpasswd(t, "ann", "a", "bob", "b")
	var asked atomic.Int64
	c.worker("local", counter(&asked, text("ok")))
	c.start()
	as := func(user, password, method string) (int, string) {
		c.t.Helper()
		r := c.request(method, "/v2/local/app/manifests/1", nil)
		if user != "" {
			r.SetBasicAuth(user, password)
		}
		response, body := c.do(r)
		return response.StatusCode, body
	}
	for _, method := range pushMethods {
		status, body := as("", "", method)
		assert.Equal(t, http.StatusUnauthorized, status)
		requireError(t, body, errcode.ErrorCodeUnauthorized, "")
		status, _ = as("ann", "wrong", method)
		assert.Equal(t, http.StatusUnauthorized, status)
		status, body = as("bob", "b", method)
		assert.Equal(t, http.StatusForbidden, status)
		requireError(t, body, errcode.ErrorCodeDenied, `"bob" may pull from local/ but not push to it: hosted.push`)
		assert.Zero(t, asked.Load())
		status, _ = as("ann", "a", method)
		assert.Equal(t, http.StatusOK, status)
		asked.Store(0)
	}
	status, _ := as("bob", "b", http.MethodGet)
	assert.Equal(t, http.StatusOK, status)

	c.update(func(s *config.Router) {
		s.Routes = append(s.Routes[:2:2], s.Routes[2])
		s.Routes[2].Push = nil
	})
	status, _ = as("bob", "b", http.MethodPut)
	assert.Equal(t, http.StatusOK, status, "everyone who is authenticated")
	c.update(func(s *config.Router) { s.Routes = s.Routes[:2] })
	status, _ = as("bob", "b", http.MethodPut)
	assert.Equal(t, http.StatusMethodNotAllowed, status, "nothing is hosted any more")
}

func TestPushesAndDeletionsAreLogged(t *testing.T) {
	c := newHosted(t)
	c.settings.Auth = htpasswd(t, "ann", "a")
	d := digest.FromString("x").String()
	c.worker("local", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(map[string]int{"PUT": 201, "DELETE": 202, "POST": 202}[r.Method])
	})
	c.start()
	as := func(method, path string) {
		r := c.request(method, path, nil)
		r.SetBasicAuth("ann", "a")
		c.do(r)
	}
	as("POST", "/v2/local/app/blobs/uploads/")
	as("PUT", "/v2/local/app/blobs/uploads/u1?digest="+d)
	as("PUT", "/v2/local/app/manifests/1")
	as("DELETE", "/v2/local/app/manifests/"+d)
	assert.Contains(t, c.log.String(), `"image":"local/app:1","user":"ann","client":"127.0.0.1","message":"pushed"`)
	assert.Contains(t, c.log.String(), `"image":"local/app@`+d+`","digest":"`+d+`","user":"ann","client":"127.0.0.1","message":"deleted"`)
	assert.Equal(t, 2, strings.Count(c.log.String(), `"client":`))
}

func TestTokensForPushes(t *testing.T) {
	c := newHosted(t)
	server := newTokenServer(t, c.dir)
	c.settings.Auth = server.settings()
	c.worker("local", text("ok"))
	c.start()
	const base = "/v2/local/app/blobs/uploads/"
	for request, scope := range map[string][]string{
		"POST " + base:                           {"repository:local/app:pull,push"},
		"POST " + base + "?from=local/b&mount=x": {"repository:local/app:pull,push", "repository:local/b:pull"},
		"PATCH " + base + "u1":                   {"repository:local/app:pull,push"},
		"PUT /v2/local/app/manifests/1":          {"repository:local/app:pull,push"},
		"DELETE /v2/local/app/manifests/1":       {"repository:local/app:delete"},
		"GET /v2/local/app/manifests/1":          {"repository:local/app:pull"},
	} {
		method, path, _ := strings.Cut(request, " ")
		response, _ := c.send(method, path, nil)
		assert.Equal(t, http.StatusUnauthorized, response.StatusCode, request)
		_, scopes, _ := strings.Cut(response.Header.Get("Www-Authenticate"), `scope="`)
		scopes, _, _ = strings.Cut(scopes, `"`)
		// Distribution has them, and the actions, in any order.
		assert.ElementsMatch(t, scope, strings.Fields(strings.ReplaceAll(scopes, "push,pull", "pull,push")), request)
	}
	pull := "Bearer " + server.sign(&token.ResourceActions{Type: "repository", Name: "local/app", Actions: []string{"pull"}})
	push := "Bearer " + server.sign(&token.ResourceActions{Type: "repository", Name: "local/app", Actions: []string{"pull", "push"}})
	for method, want := range map[string][2]int{"GET": {200, 200}, "PUT": {401, 200}, "DELETE": {401, 401}} {
		for i, bearer := range []string{pull, push} {
			response, _ := c.send(method, "/v2/local/app/manifests/1", nil, "Authorization", bearer)
			assert.Equal(t, want[i], response.StatusCode, "%s %d", method, i)
		}
	}
}

func TestAPushIsNotSentTwice(t *testing.T) {
	c := newHosted(t)
	var asked atomic.Int64
	stop := c.worker("local", counter(&asked, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	c.start()
	response, body := c.send("POST", "/v2/local/app/blobs/uploads/", nil)
	assert.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	requireError(t, body, errcode.ErrorCodeUnavailable, "does not answer")
	assert.EqualValues(t, 1, asked.Load())

	// Where nobody took it, it is.
	stop()
	socket := filepath.Join(c.dir, "local.sock")
	_ = os.Remove(socket)
	var dials atomic.Int64
	u := c.handler.state.Load().upstreams["local"]
	connect := u.transport.DialContext
	u.transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials.Add(1) == 2 {
			c.worker("local", counter(&asked, text("ok")))
		}
		return connect(ctx, network, addr)
	}
	response, _ = c.send("PUT", "/v2/local/app/manifests/1", strings.NewReader("body"))
	assert.Equal(t, http.StatusOK, response.StatusCode)
	assert.EqualValues(t, 2, asked.Load())
}

func TestTheCatalogHasWhatWasPushed(t *testing.T) {
	c := newHosted(t)
	hosted, err := images.Open(images.HostedDir(c.settings.StoreDir))
	require.NoError(t, err)
	m := []byte(`{"mediaType":"` + v1.MediaTypeImageManifest + `","config":{},"layers":[]}`)
	for name, store := range map[string]*images.Store{
		"quay.io/c": c.store, "docker.io/library/a": c.store, "local/b": hosted, "local/a": hosted,
	} {
		require.NoError(t, store.PutManifest(name, digest.FromBytes(m), v1.MediaTypeImageManifest, m))
	}
	c.start()
	var all []string
	path := "/v2/_catalog?n=1"
	for path != "" {
		response, body := c.get(path)
		var page struct{ Repositories []string }
		require.NoError(t, json.Unmarshal([]byte(body), &page))
		require.Len(t, page.Repositories, 1)
		all = append(all, page.Repositories...)
		path, _, _ = strings.Cut(strings.TrimPrefix(response.Header.Get("Link"), "<"), ">")
	}
	assert.Equal(t, []string{"docker.io/library/a", "local/a", "local/b", "quay.io/c"}, all)
}
