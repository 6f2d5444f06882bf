package upstream

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/singleflight"

	"registrycache/config"
)

// maxGrants bounds what is remembered; a repository that was forgotten costs
// one more request that is answered 401.
const maxGrants = 1024

// A grant is what one host accepts as Authorization for one repository, and
// the challenges to answer again when it has run out.
type grant struct {
	header     string
	expires    time.Time // zero for never
	challenges []challenge
}

func (g *grant) valid(now time.Time) bool { return g.expires.IsZero() || now.Before(g.expires) }

// grantKey binds a grant to the host that asked for it, so that what one host
// gets no other sees.
type grantKey struct{ origin, repo string }

// errUnanswerable means that no challenge is one we have an answer to.
var errUnanswerable = errors.New("no challenge that can be answered")

// authorizer answers challenges and remembers what came of it.
type authorizer struct {
	// life ends when the client is closed. Tokens are fetched under it, for
	// the first caller who gives up is seldom the last who wants one.
	life        context.Context
	wire        *wire
	lane        *lane
	report      *report
	health      *health
	log         zerolog.Logger
	origin      string
	realms      realms
	credentials []config.Credential
	now         func() time.Time
	// tokenTimeout is the constant of that name, less in tests.
	tokenTimeout time.Duration

	flights singleflight.Group
	mu      sync.Mutex
	grants  map[grantKey]*grant
	// rotated are the identity tokens that a token server has replaced, by
	// credential scope.
	rotated map[string]string
}

// credential returns the credential with the longest scope that holds the
// repository, or nil. They come sorted.
func (a *authorizer) credential(repo string) *config.Credential {
	for i, c := range a.credentials {
		if c.Scope == "" || repo == c.Scope || strings.HasPrefix(repo, c.Scope+"/") {
			return &a.credentials[i]
		}
	}
	return nil
}

// credentialFor is the one that host may get: only the upstream's own API ever
// gets any.
func (a *authorizer) credentialFor(host *url.URL, repo string) *config.Credential {
	if origin(host) != a.origin {
		return nil
	}
	return a.credential(repo)
}

// header returns the Authorization for a request to u about the repository. It
// is empty until the host has asked for one.
func (a *authorizer) header(ctx context.Context, u *url.URL, repo string) (string, error) {
	key := grantKey{origin(u), repo}
	a.mu.Lock()
	g := a.grants[key]
	a.mu.Unlock()
	switch {
	case g == nil:
		return "", nil
	case g.valid(a.now()):
		return g.header, nil
	}
	// Nobody has refused this one yet: the token server may give it again.
	return a.obtain(ctx, key, u, g.challenges, "")
}

// answer makes sure that the next header is one that answers the challenges,
// and is not used, which the host has just refused.
func (a *authorizer) answer(ctx context.Context, u *url.URL, repo string, challenges []challenge, used string) error {
	_, err := a.obtain(ctx, grantKey{origin(u), repo}, u, challenges, used)
	return err
}

// obtain gets a new grant, once for all who want it at the same time, and fails
// when that is the one which was refused. It goes on when ctx ends.
func (a *authorizer) obtain(ctx context.Context, key grantKey, u *url.URL, challenges []challenge, refused string) (string, error) {
	done := a.flights.DoChan(key.origin+" "+key.repo, func() (any, error) {
		a.mu.Lock()
		g := a.grants[key]
		a.mu.Unlock()
		if g != nil && g.header != refused && g.valid(a.now()) {
			return g.header, nil // somebody was faster
		}
		g, err := a.respond(a.life, u, a.credentialFor(u, key.repo), challenges, key.repo)
		if err != nil {
			return "", err
		}
		a.remember(key, g)
		return g.header, nil
	})
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case r := <-done:
		header := r.Val.(string)
		if r.Err == nil && header == refused {
			return "", errUnanswerable // the same again would be refused again
		}
		return header, r.Err
	}
}

func (a *authorizer) remember(key grantKey, g *grant) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.grants) >= maxGrants {
		now := a.now()
		maps.DeleteFunc(a.grants, func(_ grantKey, old *grant) bool { return !old.valid(now) })
	}
	for other := range a.grants {
		if len(a.grants) < maxGrants {
			break
		}
		delete(a.grants, other)
	}
	a.grants[key] = g
}

// respond answers the challenges of u. Bearer comes first: it sends the
// password less often, and for one purpose at a time.
func (a *authorizer) respond(ctx context.Context, u *url.URL, cred *config.Credential, challenges []challenge, repo string) (*grant, error) {
	trusted := a.realms
	if origin(u) != a.origin {
		trusted = a.realms.redirected(u)
	}
	refused := errUnanswerable
	for _, ch := range challenges {
		if ch.scheme != "bearer" {
			continue
		}
		realm, err := trusted.check(ch.params["realm"])
		if err != nil {
			refused = err
			continue
		}
		g, err := a.token(ctx, tokenRequest{
			realm: realm, service: ch.params["service"], scopes: scopes(ch, repo), repo: repo, cred: cred,
		})
		if err != nil {
			return nil, err
		}
		g.challenges = challenges
		return g, nil
	}
	for _, ch := range challenges {
		if ch.scheme == "basic" && cred != nil && hasPassword(cred) {
			return &grant{header: "Basic " + basicValue(*cred), challenges: challenges}, nil
		}
	}
	return nil, refused
}

func hasPassword(c *config.Credential) bool { return c.Username != "" || c.Password != "" }

// scopes are what a token is asked for: what the challenge says, or else to
// pull from the repository.
func scopes(ch challenge, repo string) []string {
	if asked := strings.Fields(ch.params["scope"]); len(asked) > 0 || repo == "" {
		return asked
	}
	return []string{"repository:" + repo + ":pull"}
}
