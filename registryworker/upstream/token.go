package upstream

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"registrycache/config"
)

const (
	// clientID is how we name ourselves to token servers.
	clientID = "registry-cache"
	// defaultExpiry is what a token without expires_in is good for
	// (distribution's token specification).
	defaultExpiry = 60 * time.Second
	maxExpiry     = 24 * time.Hour
	// maxTokenAnswer is in bytes. A token travels in a header, so a longer one
	// would be of no use.
	maxTokenAnswer = 128 << 10
	// tokenTimeout is for one token as a whole. All who need it wait for the same
	// one: a token server that sends a byte now and then must not keep them, and
	// those who come later, from ever asking again.
	tokenTimeout = 2 * time.Minute
)

// tokenRequest is one question to a token server. A nil cred asks anonymously.
type tokenRequest struct {
	realm   *url.URL
	service string
	scopes  []string
	repo    string
	cred    *config.Credential
}

func (q tokenRequest) op() string {
	if q.repo == "" {
		return "get a token from " + q.realm.Host
	}
	return "get a token for " + q.repo + " from " + q.realm.Host
}

// token fetches a token. An identity token is traded in by POST, user and
// password go by GET, or by POST where the server knows no GET.
func (a *authorizer) token(ctx context.Context, q tokenRequest) (*grant, error) {
	ctx, cancel := context.WithTimeout(ctx, a.tokenTimeout)
	defer cancel()
	asked := a.now()
	resp, err := a.askToken(ctx, q)
	if err != nil {
		return nil, a.report.wrap(q.op(), err)
	}
	if resp.StatusCode != http.StatusOK {
		e := a.report.failure(q.op(), resp)
		if e.Kind == NotFound {
			e.Kind = Invalid // the server is missing, not what was asked for
		}
		if q.cred != nil && e.Kind == Unauthorized {
			a.health.refused(q.cred, e)
		}
		a.advise(e, q.cred)
		return nil, e
	}
	defer drain(resp)
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxTokenAnswer))
	if err != nil {
		return nil, a.report.wrap(q.op(), err)
	}
	t, err := parseToken(text)
	if err != nil {
		return nil, a.report.wrap(q.op(), err)
	}
	if q.cred != nil {
		a.health.accepted(q.cred)
		if t.refresh != "" && q.cred.IdentityToken != "" {
			a.mu.Lock()
			a.rotated[q.cred.Scope] = t.refresh
			a.mu.Unlock()
		}
	}
	a.log.Debug().Str("realm", q.realm.Host).Strs("scopes", q.scopes).Stringer("for", t.expiresIn).Msg("token fetched")
	// Counted from before the question: the server's clock may be wrong, ours
	// only has to run evenly.
	margin := min(t.expiresIn/10, 10*time.Second)
	return &grant{header: "Bearer " + t.value, expires: asked.Add(t.expiresIn - margin)}, nil
}

func (a *authorizer) askToken(ctx context.Context, q tokenRequest) (*http.Response, error) {
	if q.cred != nil && q.cred.IdentityToken != "" {
		resp, err := a.postToken(ctx, q, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {a.identity(q.cred)}})
		if err != nil || !unsupported(resp) || !hasPassword(q.cred) {
			return resp, err
		}
		drain(resp)
	}
	resp, err := a.getToken(ctx, q)
	if err != nil || !unsupported(resp) || q.cred == nil {
		return resp, err
	}
	drain(resp)
	return a.postToken(ctx, q, url.Values{
		"grant_type": {"password"}, "username": {q.cred.Username}, "password": {q.cred.Password.Reveal()},
	})
}

func unsupported(resp *http.Response) bool {
	return resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusMethodNotAllowed
}

func (a *authorizer) identity(c *config.Credential) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t := a.rotated[c.Scope]; t != "" {
		return t
	}
	return c.IdentityToken.Reveal()
}

// getToken is distribution's token authentication: Basic credentials, or none.
func (a *authorizer) getToken(ctx context.Context, q tokenRequest) (*http.Response, error) {
	u := *q.realm
	query := u.Query() // a realm may bring parameters of its own
	if q.service != "" {
		query.Set("service", q.service)
	}
	query["scope"] = append(query["scope"], q.scopes...)
	u.RawQuery = query.Encode()
	basic := func(_ context.Context, to *url.URL) (string, error) {
		if q.cred == nil || !hasPassword(q.cred) || origin(to) != origin(q.realm) {
			return "", nil
		}
		return "Basic " + basicValue(*q.cred), nil
	}
	return a.wire.follow(ctx, a.lane, request{method: http.MethodGet, url: &u}, basic)
}

// postToken is OAuth2 (RFC 6749) as distribution profiles it.
func (a *authorizer) postToken(ctx context.Context, q tokenRequest, form url.Values) (*http.Response, error) {
	form.Set("client_id", clientID)
	form.Set("service", q.service)
	if len(q.scopes) > 0 {
		form.Set("scope", strings.Join(q.scopes, " "))
	}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	none := func(context.Context, *url.URL) (string, error) { return "", nil }
	return a.wire.follow(ctx, a.lane, request{method: http.MethodPost, url: q.realm, header: header, form: form.Encode()}, none)
}

type token struct {
	value     string
	refresh   string
	expiresIn time.Duration
}

// parseToken reads a token server's answer, in either of the two forms.
func parseToken(text []byte) (token, error) {
	var doc struct {
		Token        string      `json:"token"`
		AccessToken  string      `json:"access_token"`
		RefreshToken string      `json:"refresh_token"`
		ExpiresIn    json.Number `json:"expires_in"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return token{}, invalid("the answer is not a token: malformed JSON")
	}
	t := token{value: doc.Token, refresh: doc.RefreshToken, expiresIn: defaultExpiry}
	if t.value == "" {
		t.value = doc.AccessToken
	}
	// The text of the answer stays out of the errors: it may hold a token.
	if t.value == "" {
		return token{}, invalid("the answer has neither token nor access_token")
	}
	if !httpguts.ValidHeaderFieldValue(t.value) {
		return token{}, invalid("the token can't stand in a header")
	}
	if seconds, err := doc.ExpiresIn.Float64(); err == nil && seconds > 0 {
		t.expiresIn = time.Duration(min(seconds, maxExpiry.Seconds()) * float64(time.Second))
	}
	return t, nil
}
