package warm

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"registrycache/logger/accesslog"
)

// Connection is how a cache is reached. What is empty is not used.
type Connection struct {
	// Scheme is http or https, Host is host:port.
	Scheme, Host string
	TLS          *tls.Config
	// Proxy is as of http.Transport.
	Proxy func(*http.Request) (*url.URL, error)
	// TokenTLS is for a token server, should the cache name one. That is reached
	// as the environment has it.
	TokenTLS  *tls.Config
	Login     Login
	UserAgent string
}

// Login are credentials for the cache.
type Login struct {
	Username, Password string
	// IdentityToken is for token servers, in the password's stead.
	IdentityToken string
}

// Cache is a running cache, reached through its registry API. Each method is
// one request, and one more where the cache asks who it is.
type Cache struct {
	connection Connection
	client     *http.Client
	auth       *authenticator
}

const (
	connectTimeout = 10 * time.Second
	// answerTimeout is for answers that don't wait for a blob.
	answerTimeout = 2 * time.Minute
)

// Connect returns a Cache, which must be closed. Nothing is sent yet.
func Connect(c Connection) *Cache {
	return &Cache{
		connection: c,
		client:     newClient(c.TLS, c.Proxy),
		auth: &authenticator{
			login: c.Login, client: newClient(c.TokenTLS, http.ProxyFromEnvironment), userAgent: c.UserAgent,
		},
	}
}

func newClient(config *tls.Config, proxy func(*http.Request) (*url.URL, error)) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: proxy,
			// An answer may take as long as the upstream does, so that only this
			// tells when the cache's machine is gone.
			DialContext:         (&net.Dialer{Timeout: connectTimeout, KeepAlive: 15 * time.Second}).DialContext,
			TLSHandshakeTimeout: connectTimeout,
			TLSClientConfig:     config,
			DisableCompression:  true,
			MaxIdleConnsPerHost: 64,
			IdleConnTimeout:     time.Minute,
		},
		// The cache never sends elsewhere, and credentials must not go there.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Close closes the connections.
func (c *Cache) Close() {
	c.client.CloseIdleConnections()
	c.auth.client.CloseIdleConnections()
}

// URL is the address of the cache.
func (c *Cache) URL() string { return c.connection.Scheme + "://" + c.connection.Host }

// errNoCache says that something else answers at the address.
var errNoCache = errors.New("what answers there is no registry-cache: its answers have no Cache-Status")

// ping finds out whether the cache is there and lets us in.
func (c *Cache) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	response, err := c.ask(ctx, http.MethodGet, request{path: "/v2/"})
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if cacheStatus(response) == "" {
		return errNoCache
	}
	return nil
}

// manifest gets a manifest, which makes the cache store it.
func (c *Cache) manifest(ctx context.Context, repository, ref string) (payload []byte, mediaType string, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	response, err := c.ask(ctx, http.MethodGet, request{
		repository: repository, path: "/v2/" + repository + "/manifests/" + ref,
		header: http.Header{"Accept": accepted},
	})
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = response.Body.Close() }()
	payload, err = io.ReadAll(io.LimitReader(response.Body, maxManifest+1))
	switch {
	case err != nil:
		return nil, "", fmt.Errorf("%w: %w", errCut, err)
	case len(payload) > maxManifest:
		return nil, "", errors.New("the manifest is larger than 4 MiB")
	case cacheStatus(response) == "":
		return nil, "", errNoCache
	case cacheStatus(response) == accesslog.Passed:
		return nil, "", errNotStored
	}
	want := digest.Digest(ref)
	if want.Validate() != nil {
		want = digest.Digest(response.Header.Get("Docker-Content-Digest"))
	}
	if want.Validate() == nil && want.Algorithm().FromBytes(payload) != want {
		return nil, "", fmt.Errorf("the manifest that came is not %s", want)
	}
	mediaType, _, _ = strings.Cut(response.Header.Get("Content-Type"), ";")
	return payload, mediaType, nil
}

// errNotStored is for what the cache gives out but can't keep.
var errNotStored = errors.New("the cache has no room to keep it, or can't write its store; its log says which")

// stat says whether the cache has a blob for the repository.
func (c *Cache) stat(ctx context.Context, repository string, d digest.Digest) (here bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	response, err := c.ask(ctx, http.MethodHead, request{repository: repository, path: blobPath(repository, d)})
	if err != nil {
		return false, err
	}
	_ = response.Body.Close()
	switch cacheStatus(response) {
	case accesslog.Hit, accesslog.Revalidated, accesslog.Stale:
		return true, nil
	case accesslog.Local: // pushed here, there is no upstream
		return true, nil
	case "":
		return false, errNoCache
	}
	return false, nil
}

// probe waits until the cache has the byte of a blob at an offset, and says
// whether that is all there is to ask for. Where something on the way answers
// with the whole blob, that is read, and received is told how far it is.
func (c *Cache) probe(ctx context.Context, b Blob, offset int64, received func(int64)) (whole bool, err error) {
	r := request{repository: b.Repository, path: blobPath(b.Repository, b.Digest)}
	if b.Size > 0 {
		position := strconv.FormatInt(offset, 10)
		r.header = http.Header{"Range": {"bytes=" + position + "-" + position}}
	}
	response, err := c.ask(ctx, http.MethodGet, r)
	var refusal *Refusal
	if errors.As(err, &refusal) && refusal.Status == http.StatusRequestedRangeNotSatisfiable {
		return false, fmt.Errorf("the blob is shorter than the %d bytes that the manifest says", b.Size)
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = response.Body.Close() }()
	switch {
	case cacheStatus(response) == "":
		return false, errNoCache
	case cacheStatus(response) == accesslog.Passed:
		return false, errNotStored
	case response.StatusCode == http.StatusOK:
		return true, discard(response, b, received)
	}
	want := fmt.Sprintf("bytes %d-%d/%d", offset, offset, b.Size)
	if got := response.Header.Get("Content-Range"); got != want {
		return false, fmt.Errorf("the cache was asked for byte %d of %d and answers with %q; the manifest may be wrong about the size", offset, b.Size, got)
	}
	var one [2]byte
	if n, _ := io.ReadFull(response.Body, one[:]); n != 1 {
		return false, fmt.Errorf("%w: %d bytes in place of one", errCut, n)
	}
	return false, nil
}

// errCut is for an answer that ended early; to ask again may help.
var errCut = errors.New("the answer broke off")

// discard reads a whole blob, which nobody wants here.
func discard(response *http.Response, b Blob, received func(int64)) error {
	buffer := make([]byte, 64<<10)
	for done := int64(0); ; {
		n, err := response.Body.Read(buffer)
		done += int64(n)
		received(min(done, b.Size))
		switch {
		case errors.Is(err, io.EOF) && done == b.Size:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("the blob has %d bytes, and the manifest says %d", done, b.Size)
		case err != nil:
			return fmt.Errorf("%w after %d bytes: %w", errCut, done, err)
		}
	}
}

func blobPath(repository string, d digest.Digest) string {
	return "/v2/" + repository + "/blobs/" + d.String()
}
