package warm

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

var (
	errNoLogin    = errors.New("the cache wants a login: podman login, or docker login, writes it where it is looked for, and --authfile names another file")
	errWrongLogin = errors.New("the login for the cache is not accepted")
)

// authenticator knows what to say when the cache asks who it is: Basic
// credentials (RFC 7617), or a token of the server that the cache names
// (distribution's token specification). Credentials go to the cache and to that
// server, and nowhere else.
type authenticator struct {
	login     Login
	client    *http.Client
	userAgent string

	mu    sync.Mutex
	basic bool
	// tokens are by repository.
	tokens map[string]token
}

type token struct {
	value   string
	expires time.Time
}

// known is the Authorization for a repository, or "" as long as nobody asked
// for any.
func (a *authenticator) known(repository string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.basic {
		return a.basicHeader()
	}
	if t := a.tokens[repository]; time.Now().Before(t.expires) {
		return "Bearer " + t.value
	}
	return ""
}

func (a *authenticator) basicHeader() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(a.login.Username+":"+a.login.Password))
}

// answer returns the Authorization for the challenges of an answer to a request
// that had sent another one, or none.
func (a *authenticator) answer(ctx context.Context, repository string, challenges []string, sent string) (string, error) {
	scheme, params := pickChallenge(challenges)
	switch {
	case scheme == basicScheme && a.login.Password == "":
		return "", errNoLogin
	case scheme == basicScheme && strings.HasPrefix(sent, "Basic "):
		return "", errWrongLogin
	case scheme == basicScheme:
		a.mu.Lock()
		defer a.mu.Unlock()
		a.basic = true
		return a.basicHeader(), nil
	case scheme == bearerScheme:
		return a.renew(ctx, repository, params, sent)
	}
	return "", errors.New("the cache wants a login of a kind that is not known here")
}

// blame says why what was sent did not do.
func (a *authenticator) blame() error {
	if a.login == (Login{}) {
		return errNoLogin
	}
	return errWrongLogin
}

// renew fetches a token, unless another request has done so meanwhile. One at a
// time: there is one for each repository, and it lasts for minutes.
func (a *authenticator) renew(ctx context.Context, repository string, params map[string]string, sent string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t := a.tokens[repository]; time.Now().Before(t.expires) && "Bearer "+t.value != sent {
		return "Bearer " + t.value, nil
	}
	t, err := a.fetch(ctx, params)
	if err != nil {
		return "", err
	}
	if a.tokens == nil {
		a.tokens = map[string]token{}
	}
	a.tokens[repository] = t
	return "Bearer " + t.value, nil
}

const (
	// tokenLife is that of a token whose server does not say.
	tokenLife = 60 * time.Second
	// tokenTimeout is how long its server may take.
	tokenTimeout = 30 * time.Second
	maxToken     = 1 << 20
)

// fetch gets a token from the server that a challenge names.
func (a *authenticator) fetch(ctx context.Context, params map[string]string) (token, error) {
	realm, err := url.Parse(params["realm"])
	if err != nil || realm.Host == "" || realm.Scheme != "https" && realm.Scheme != "http" {
		return token{}, fmt.Errorf("the cache names %q as its token server, which is no address", params["realm"])
	}
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	request, err := a.tokenRequest(ctx, realm, params)
	if err != nil {
		return token{}, err
	}
	request.Header.Set("User-Agent", a.userAgent)
	asked := time.Now()
	response, err := a.client.Do(request)
	if err != nil {
		return token{}, fmt.Errorf("the token server %s: %w", realm.Host, plainer(err))
	}
	if response.StatusCode != http.StatusOK {
		refusal := refused(response)
		if refusal.Status == http.StatusUnauthorized {
			return token{}, a.blame()
		}
		return token{}, fmt.Errorf("the token server %s: %w", realm.Host, refusal)
	}
	defer func() { _ = response.Body.Close() }()
	var body struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxToken)).Decode(&body); err != nil {
		return token{}, fmt.Errorf("the token server %s: the answer can't be read", realm.Host)
	}
	t := token{value: body.Token, expires: asked.Add(tokenLife)}
	if t.value == "" {
		t.value = body.AccessToken
	}
	if t.value == "" {
		return token{}, fmt.Errorf("the token server %s: the answer has no token", realm.Host)
	}
	if body.ExpiresIn > 0 {
		t.expires = asked.Add(time.Duration(body.ExpiresIn) * time.Second)
	}
	return t, nil
}

// tokenRequest asks with the password, or as OAuth2 has it with an identity
// token (distribution's oauth specification).
func (a *authenticator) tokenRequest(ctx context.Context, realm *url.URL, params map[string]string) (*http.Request, error) {
	query := realm.Query()
	for _, name := range []string{"service", "scope"} {
		if params[name] != "" {
			query.Set(name, params[name])
		}
	}
	if a.login.IdentityToken != "" {
		query.Set("grant_type", "refresh_token")
		query.Set("refresh_token", a.login.IdentityToken)
		query.Set("client_id", "registry-cache")
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, realm.String(), strings.NewReader(query.Encode()))
		if err == nil {
			request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return request, err
	}
	realm.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, realm.String(), nil)
	if err == nil && a.login.Password != "" {
		request.SetBasicAuth(a.login.Username, a.login.Password)
	}
	return request, err
}
