package hosted

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	v2 "github.com/distribution/distribution/v3/registry/api/v2"
	"github.com/distribution/reference"
	"github.com/gorilla/mux"
	"github.com/opencontainers/go-digest"
	"github.com/rs/zerolog"

	"registrycache/images"
	"registrycache/logger/accesslog"
)

// handler answers for the repositories below prefix.
type handler struct {
	prefix    string
	store     *images.Store
	registry  http.Handler // distribution's
	routes    *mux.Router
	referrers *referrers
	garbage   *collector
	log       zerolog.Logger
	// pledges is held while one is made or redeemed.
	pledges sync.Mutex
}

// referrersRoute is the name of the route that distribution does not have.
const referrersRoute = "referrers"

func newHandler(prefix string, store *images.Store, registry http.Handler, garbage *collector, log zerolog.Logger) *handler {
	routes := v2.RouterWithPrefix("")
	routes.Path("/v2/{name:" + reference.NameRegexp.String() + "}/referrers/{digest:" + digest.DigestRegexp.String() + "}").
		Name(referrersRoute)
	return &handler{
		prefix: prefix, store: store, registry: registry, routes: routes,
		referrers: newReferrers(store), garbage: garbage, log: log,
	}
}

// request is a parsed one. Repository is empty where it concerns none.
type request struct {
	*http.Request
	route      string
	repository string
	// tag is that of a manifest, digest that of a manifest, blob or subject.
	tag    string
	digest digest.Digest
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(accesslog.HeaderName, accesslog.Local.Header())
	// Whatever it is, it may be pushed anew or deleted in the next moment.
	w.Header().Set("Cache-Control", "no-cache")
	// Parameters are those of the query, which the router decided by. Distribution
	// would take them from the body, too, and before those.
	r.Form, r.PostForm = r.URL.Query(), url.Values{}
	q, err := h.parse(r)
	if err != nil {
		refuse(w, err)
		return
	}
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case q.route == referrersRoute:
		h.listReferrers(w, q)
	case q.route == v2.RouteNameManifest && reads:
		h.readManifest(w, q)
	case q.route == v2.RouteNameBlob && reads:
		h.readBlob(w, q)
	case reads:
		a := &changed{ResponseWriter: w}
		h.registry.ServeHTTP(a, r)
		h.conceal(w, q, a)
	default:
		h.change(w, q)
	}
}

// parse reads what distribution's own routes, and ours, have to say of a path.
func (h *handler) parse(r *http.Request) (request, error) {
	q := request{Request: r}
	var match mux.RouteMatch
	if !h.routes.Match(r, &match) || match.Route == nil {
		return q, errcode.ErrorCodeNameUnknown.WithMessage("not a path of the registry API")
	}
	q.route, q.repository = match.Route.GetName(), match.Vars["name"]
	if q.repository != "" && !strings.HasPrefix(q.repository, h.prefix+"/") {
		return q, errcode.ErrorCodeNameUnknown.WithMessage("the names of pushed images begin with " + h.prefix + "/ here")
	}
	if last := r.Form.Get("last"); q.route == v2.RouteNameTags && last != "" && !images.IsTag(last) {
		return q, errcode.ErrorCodeTagInvalid.WithMessage("last=" + strconv.Quote(last) + " is not a tag")
	}
	text := match.Vars["digest"]
	if reference := match.Vars["reference"]; strings.Contains(reference, ":") {
		text = reference
	} else {
		q.tag = reference
	}
	if text == "" {
		return q, nil
	}
	q.digest = digest.Digest(text)
	if err := q.digest.Validate(); err != nil {
		return q, errcode.ErrorCodeDigestInvalid.WithMessage("the digest " + text + " is invalid: " + err.Error())
	}
	return q, nil
}

// refuse answers with an error.
func refuse(w http.ResponseWriter, err error) {
	_ = errcode.ServeJSON(w, err) // the client may have gone
}

// fail answers with an error that is the store's, and reports its cause.
func (h *handler) fail(w http.ResponseWriter, q request, cause error) {
	if q.Context().Err() != nil {
		return // nobody waits for an answer
	}
	h.log.Warn().Err(cause).Str("repository", q.repository).Str("method", q.Method).Msg("the store of pushed images failed")
	w.Header().Del("Content-Length")
	refuse(w, errcode.ErrorCodeUnknown.WithMessage(h.failure()))
}

// scarce is how little free space makes a full disk the likeliest cause.
const scarce = 1 << 20

// failure is what a client can be told about an error of the store.
func (h *handler) failure() string {
	if disk, err := h.store.Disk(); err == nil && disk.Free < scarce {
		return "no space left on the disk for pushed images"
	}
	return "the store of pushed images failed; the cache's log has more"
}
