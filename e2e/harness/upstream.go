package harness

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"
)

// Upstream is a registry that the cache pulls from, seen through its Front.
type Upstream struct {
	*Front
	// Tokens is nil for a registry without authentication.
	Tokens *TokenServer

	push http.RoundTripper
}

// Login is the user that NewUpstream knows, in the form user:password. The
// password has a colon, as robot accounts' passwords may.
const Login = "robot:pass:w0rd"

// UpstreamOption changes what NewUpstream makes.
type UpstreamOption func(*upstreamOptions)

type upstreamOptions struct {
	addr  string
	tls   *tls.Config
	users map[string]User
}

// WithUsers replaces the users; the user "" is anybody.
func WithUsers(users map[string]User) UpstreamOption {
	return func(o *upstreamOptions) { o.users = users }
}

// WithTLS makes the registry speak TLS.
func WithTLS(pair Pair, t testing.TB) UpstreamOption {
	return func(o *upstreamOptions) { o.tls = pair.Server(t) }
}

// OnAddress listens on this IP address instead of 127.0.0.1.
func OnAddress(ip string) UpstreamOption {
	return func(o *upstreamOptions) { o.addr = ip + ":0" }
}

func options(list []UpstreamOption) *upstreamOptions {
	name, password, _ := strings.Cut(Login, ":")
	o := &upstreamOptions{
		addr:  "127.0.0.1:0",
		users: map[string]User{name: {Password: password, Repositories: []string{"*", "*/*", "*/*/*"}}},
	}
	for _, option := range list {
		option(o)
	}
	return o
}

// NewUpstream runs Debian's docker-registry behind a token server.
func NewUpstream(t testing.TB, list ...UpstreamOption) *Upstream {
	t.Helper()
	o := options(list)
	tokens := NewTokenServer(t, o.addr, o.users)
	transport := startRegistry(t, TempDir(t), tokens)
	return &Upstream{
		Front:  NewFront(t, o.addr, forward(transport), o.tls),
		Tokens: tokens, push: &pusher{to: transport, tokens: tokens},
	}
}

// NewOpenUpstream runs a registry in this process that wants no credentials
// and has the referrers API, which docker-registry 2.8 has not. All its
// repositories share their blobs.
func NewOpenUpstream(t testing.TB, list ...UpstreamOption) *Upstream {
	t.Helper()
	o := options(list)
	handler := asSpecified(registry.New(registry.WithReferrersSupport(true), registry.Logger(quiet)))
	return &Upstream{Front: NewFront(t, o.addr, handler, o.tls), push: direct{handler}}
}

// pusher goes to the registry behind the Front, which therefore counts no
// pushes, with tokens that allow everything.
type pusher struct {
	to     http.RoundTripper
	tokens *TokenServer
}

func (p *pusher) RoundTrip(r *http.Request) (*http.Response, error) {
	path := strings.TrimPrefix(r.URL.Path, "/v2/")
	for _, kind := range []string{"/blobs/", "/manifests/", "/tags/"} {
		path, _, _ = strings.Cut(path, kind)
	}
	token, err := p.tokens.sign("pusher",
		[]access{{Type: "repository", Name: path, Actions: []string{"pull", "push", "delete"}}}, time.Minute)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return p.to.RoundTrip(r)
}

// direct calls a handler without a network.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r = r.Clone(r.Context())
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// Ref is the registry's own name for an image.
func (u *Upstream) Ref(t testing.TB, image string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(u.Host()+"/"+image, name.Insecure)
	require.NoError(t, err)
	return ref
}

// Push puts an image (v1.Image) or an index (v1.ImageIndex) under a name such
// as podman/hello:latest.
func (u *Upstream) Push(t testing.TB, image string, content any) {
	t.Helper()
	var err error
	switch content := content.(type) {
	case v1.Image:
		err = remote.Write(u.Ref(t, image), content, remote.WithTransport(u.push))
	case v1.ImageIndex:
		err = remote.WriteIndex(u.Ref(t, image), content, remote.WithTransport(u.push))
	default:
		require.FailNow(t, "not an image", "%T", content)
	}
	require.NoError(t, err, "push %s", image)
}

// Settings is what CONFIG_FILE says of this upstream.
func (u *Upstream) Settings() Settings {
	s := Settings{"url": u.URL()}
	if u.Tokens != nil {
		s["tokenRealms"] = []string{u.Tokens.Host()}
	}
	return s
}

// Settings are keys of one upstream in CONFIG_FILE.
type Settings map[string]any

// With returns the settings and one more.
func (s Settings) With(key string, value any) Settings {
	more := Settings{key: value}
	for k, v := range s {
		if k != key {
			more[k] = v
		}
	}
	return more
}
