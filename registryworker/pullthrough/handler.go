package pullthrough

import (
	"errors"
	"net/http"
	"path"
	"strings"

	"github.com/distribution/distribution/v3/registry/api/errcode"

	"registrycache/logger/accesslog"
)

// Handler is what the worker serves: app behind the checks that need no
// upstream, and beside it the referrers API, which app lacks. The app must have
// been made with Middleware.
func (c *Cache) Handler(app http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(accesslog.HeaderName, accesslog.Local.Header())
		q, err := c.admit(r)
		if err != nil {
			refuse(w, err)
			return
		}
		x := &exchange{w: w}
		r = r.WithContext(withExchange(r.Context(), x))
		if q.kind == kindReferrers {
			c.serveReferrers(x, r, q)
			return
		}
		app.ServeHTTP(w, r)
	})
}

// admit parses the request and checks that it may be answered at all.
func (c *Cache) admit(r *http.Request) (request, error) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return request{}, errcode.ErrorCodeUnsupported.WithMessage("the cache is for pulling; " + r.Method + " is not supported")
	}
	q, err := parse(r.URL.Path)
	if err != nil || q.name == "" {
		return q, err
	}
	remote, ok := strings.CutPrefix(q.name, c.settings.Path+"/")
	if !ok {
		return q, errcode.ErrorCodeNameUnknown.WithMessage("repository names begin with " + quote(c.settings.Path+"/") + " here")
	}
	if !permitted(c.settings.Repositories, remote) {
		return q, errcode.ErrorCodeDenied.WithMessage(quote(remote) + " may not be pulled from " + c.settings.Name +
			`: no pattern under "repositories" of this upstream matches it`)
	}
	return q, nil
}

// refuse answers with an error that no upstream had a part in.
func refuse(w http.ResponseWriter, err error) {
	h := w.Header()
	h.Set("Cache-Control", noStore)
	if e, ok := errors.AsType[errcode.Error](err); ok && e.Code == errcode.ErrorCodeUnsupported {
		h.Set("Allow", "GET, HEAD")
	}
	// The client may have gone; there is nobody else to tell.
	_ = errcode.ServeJSON(w, err)
}

// permitted says whether one of the patterns allows the repository; none allow
// all. A pattern is one of path.Match, or ends in /* and stands for any depth.
func permitted(patterns []string, repo string) bool {
	for _, p := range patterns {
		if prefix, ok := strings.CutSuffix(p, "/*"); ok && matchPrefix(prefix, repo) {
			return true
		}
		if ok, err := path.Match(p, repo); err == nil && ok {
			return true
		}
	}
	return len(patterns) == 0
}

// matchPrefix matches the first parts of the name, as many as the pattern has,
// and wants at least one more.
func matchPrefix(pattern, repo string) bool {
	parts := strings.Split(repo, "/")
	n := strings.Count(pattern, "/") + 1
	if len(parts) <= n {
		return false
	}
	ok, err := path.Match(pattern, strings.Join(parts[:n], "/"))
	return err == nil && ok
}
