package router

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/distribution/distribution/v3/registry/auth"
	"golang.org/x/sync/singleflight"

	"registrycache/config"
)

const (
	// rememberFor is how long a verdict about a credential holds. A changed
	// htpasswd makes a new gate, so that it never outlives the password.
	rememberFor = 5 * time.Minute
	// maxRemembered bounds the credentials remembered of each verdict.
	maxRemembered = 4096
)

// basicGate checks user and password with distribution's htpasswd controller.
// A bcrypt check costs 100 ms of CPU, so each credential pays it once; what is
// kept of one is an HMAC. Right and wrong ones are remembered apart: guesses
// can't push out what was verified, and a wrong password says nothing about
// the user's right one.
type basicGate struct {
	controller auth.AccessController
	macs       sync.Pool // of HMACs with the gate's own random key
	right      *memory
	wrong      *memory
	checks     singleflight.Group
	// slots leave CPU for clients that are verified while others guess.
	slots chan struct{}

	mu     sync.RWMutex // held for reading while the controller may use file
	file   *snapshot
	closed bool
}

func newBasicGate(settings config.ClientAuth, controller newController) (*basicGate, error) {
	file, err := newSnapshot(settings.Htpasswd.Reveal())
	if err != nil {
		return nil, fmt.Errorf("client auth by htpasswd: %w", err)
	}
	g := &basicGate{
		right: newMemory(maxRemembered, rememberFor),
		wrong: newMemory(maxRemembered, rememberFor),
		slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		file:  file,
	}
	var key [sha256.Size]byte
	_, _ = rand.Read(key[:]) // never fails
	g.macs.New = func() any { return hmac.New(sha256.New, key[:]) }
	if err := g.load(settings.Realm, controller); err != nil {
		file.remove()
		return nil, fmt.Errorf("client auth by htpasswd: %w", err)
	}
	return g, nil
}

// load makes the controller read its file now, not at the first request.
func (g *basicGate) load(realm string, controller newController) (err error) {
	g.controller, err = controller(config.AuthHtpasswd, map[string]any{"realm": realm, "path": g.file.path})
	if err != nil {
		return err
	}
	nobody := &http.Request{Header: http.Header{}}
	nobody.SetBasicAuth("", "")
	_, err = authorized(g.controller, nobody, nil)
	if _, ok := errors.AsType[auth.Challenge](err); !ok {
		// The controller's error quotes the line, and with it a hash.
		return errors.New("the content is malformed; each line must be user:hash, the hash made with bcrypt (htpasswd -B)")
	}
	return nil
}

func (g *basicGate) admit(r *http.Request, _ []auth.Access) (string, error) {
	user, _, ok := r.BasicAuth()
	if !ok || user == "" {
		return "", g.challenge(r)
	}
	id := g.identify(r.Header.Get("Authorization"))
	for {
		known, err := g.verdict(r, id)
		if !known {
			_, err, _ = g.checks.Do(string(id[:]), func() (any, error) {
				return nil, g.check(r, user, id)
			})
		}
		if err == nil {
			return user, nil
		}
		// The client that left may be another, whose check this one waited for.
		if !errors.Is(err, errClientLeft) || r.Context().Err() != nil {
			return "", err
		}
	}
}

func (g *basicGate) recall(authorization string, now time.Time) (user string, ok bool) {
	if authorization == "" {
		return "", false
	}
	return g.right.recall(g.identify(authorization), now)
}

// verdict returns the one remembered about a credential.
func (g *basicGate) verdict(r *http.Request, id identity) (known bool, err error) {
	now := time.Now()
	if _, ok := g.right.recall(id, now); ok {
		return true, nil
	}
	if _, ok := g.wrong.recall(id, now); ok {
		return true, g.challenge(r)
	}
	return false, nil
}

// errClientLeft ends a check for which nobody waits.
var errClientLeft = errors.New("client left while its credential was checked")

// check asks the controller and remembers its verdict.
func (g *basicGate) check(r *http.Request, user string, id identity) error {
	select {
	case g.slots <- struct{}{}:
		defer func() { <-g.slots }()
	case <-r.Context().Done():
		return errClientLeft
	}
	// The check before this one may have ended after admit looked.
	if known, err := g.verdict(r, id); known {
		return err
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.closed {
		return errGateClosed
	}
	_, err := authorized(g.controller, credentialOnly(r), nil)
	if err == nil {
		g.right.add(id, user, time.Now())
	} else if _, ok := errors.AsType[auth.Challenge](err); ok {
		g.wrong.add(id, user, time.Now())
	}
	return err
}

// challenge returns what the controller answers a client without credentials.
func (g *basicGate) challenge(r *http.Request) error {
	bare := credentialOnly(r)
	bare.Header.Del("Authorization")
	_, err := authorized(g.controller, bare, nil)
	return err
}

// identify tells values of Authorization apart without keeping them.
func (g *basicGate) identify(authorization string) (id identity) {
	mac := g.macs.Get().(hash.Hash)
	defer g.macs.Put(mac)
	mac.Reset()
	_, _ = io.WriteString(mac, authorization)
	mac.Sum(id[:0])
	return id
}

// close takes the file away when no check can read it any more: the controller
// knows it by number, which the next file to be opened gets.
func (g *basicGate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.file.remove()
}
