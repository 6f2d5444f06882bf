package router

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/distribution/distribution/v3/registry/auth"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd" // REGISTRY_AUTH=htpasswd
	_ "github.com/distribution/distribution/v3/registry/auth/token"    // REGISTRY_AUTH=token
	"github.com/sirupsen/logrus"

	"registrycache/config"
	"registrycache/router/address"
)

// gate decides who may ask. It is the only place that looks at what clients
// send as Authorization.
type gate interface {
	// admit returns the verified name of the client, empty where nobody is
	// asked for one. A client without access gets an auth.Challenge; any other
	// error means that it could not be found out.
	admit(r *http.Request, access []auth.Access) (user string, err error)
	// recall admits a client by its Authorization without finding anything
	// out. It says nothing about those whom it does not admit.
	recall(authorization string, now time.Time) (user string, ok bool)
	// close is called when no new request will come, and waits for those
	// that still need what it closes.
	close()
}

// errGateClosed says that the settings changed in between: ask the new gate.
var errGateClosed = errors.New("client auth was replaced")

// newController makes distribution's access controller of a kind.
type newController func(kind string, options map[string]any) (auth.AccessController, error)

func distributionController(kind string, options map[string]any) (auth.AccessController, error) {
	return auth.GetAccessController(kind, options)
}

// silenceDistribution mutes the logger that distribution's packages share. All
// that this process uses of distribution is its client auth, which would log
// user names that nobody verified; the access log has those who were.
func silenceDistribution() { logrus.SetOutput(io.Discard) }

func newGate(settings config.ClientAuth, controller newController) (gate, error) {
	switch settings.Type {
	case "":
		return openGate{}, nil
	case config.AuthHtpasswd:
		return newBasicGate(settings, controller)
	case config.AuthToken:
		c, err := controller(config.AuthToken, settings.TokenOptions())
		if err != nil {
			return nil, fmt.Errorf("client auth by token: %w", err)
		}
		return tokenGate{c}, nil
	}
	return nil, fmt.Errorf("client auth %q is not supported; htpasswd and token are", settings.Type)
}

type openGate struct{}

func (openGate) admit(*http.Request, []auth.Access) (string, error) { return "", nil }
func (openGate) recall(string, time.Time) (string, bool)            { return "", true }
func (openGate) close()                                             {}

// tokenGate asks for Bearer tokens of distribution's token service.
type tokenGate struct{ controller auth.AccessController }

func (g tokenGate) admit(r *http.Request, access []auth.Access) (string, error) {
	return authorized(g.controller, credentialOnly(r), access)
}

// recall admits nobody: each token is for some repositories, and for minutes.
func (tokenGate) recall(string, time.Time) (string, bool) { return "", false }

func (tokenGate) close() {}

// authorized asks a controller for the name behind a request.
func authorized(c auth.AccessController, r *http.Request, access []auth.Access) (string, error) {
	grant, err := c.Authorized(r, access...)
	if err != nil {
		return "", err
	}
	return grant.User.Name, nil
}

// credentialOnly returns what a controller may see of a request: the
// credential, and how the client reached us, which is known here and not taken
// from what a client says in X-Forwarded-Proto.
func credentialOnly(r *http.Request) *http.Request {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	only := &http.Request{Method: r.Method, URL: r.URL, Host: r.Host, Header: http.Header{
		"X-Forwarded-Proto": {scheme},
	}}
	if credential := r.Header.Get("Authorization"); credential != "" {
		only.Header.Set("Authorization", credential)
	}
	return only.WithContext(r.Context())
}

// access is what a token must allow, as in distribution.
func access(method string, target address.Target) []auth.Access {
	if target.Kind == address.Catalog {
		return []auth.Access{{Resource: auth.Resource{Type: "registry", Name: "catalog"}, Action: "*"}}
	}
	if target.Repository == "" {
		return nil
	}
	var all []auth.Access
	allow := func(repository, action string) {
		all = append(all, auth.Access{Resource: auth.Resource{Type: "repository", Name: repository}, Action: action})
	}
	switch method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		allow(target.Repository, "pull")
		allow(target.Repository, "push")
	case http.MethodDelete:
		allow(target.Repository, "delete")
	default:
		allow(target.Repository, "pull")
	}
	if target.Kind == address.Uploads {
		// A blob is mounted by those who may pull it where it is.
		if query, err := url.ParseQuery(target.Query); err == nil && query.Get("from") != "" {
			allow(query.Get("from"), "pull")
		}
	}
	return all
}
