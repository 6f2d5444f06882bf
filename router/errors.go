package router

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/distribution/distribution/v3/registry/auth"
)

// writeError answers with an error of the OCI specification, whose status
// follows from its code.
func writeError(a *answer, err errcode.Error) {
	writeJSON(a, err.Code.Descriptor().HTTPStatusCode, errcode.Errors{err})
}

// writeJSON answers with a small document.
func writeJSON(a *answer, status int, document any) {
	body, err := json.Marshal(document)
	if err != nil {
		panic(err) // all that is passed here can be encoded
	}
	a.Header().Set("Content-Type", "application/json")
	writeBody(a, status, body)
}

func writeBody(a *answer, status int, body []byte) {
	a.Header().Set("Content-Length", strconv.Itoa(len(body)))
	a.Header().Set("X-Content-Type-Options", "nosniff")
	a.WriteHeader(status)
	if a.method != http.MethodHead {
		_, _ = a.Write(body) // the client may be gone
	}
}

// bodyGrace is how long a client may go on sending what nobody reads.
const bodyGrace = 5 * time.Second

// refuse answers a request that is not one for a cache.
func refuse(a *answer, r *http.Request, err errcode.Error) {
	dropBody(a, r)
	writeError(a, err)
}

// dropBody is called before a request is answered whose body is not read. What
// the client sends after its header is of no interest then, and must not be
// taken for a request.
func dropBody(a *answer, r *http.Request) {
	if r.ContentLength != 0 {
		a.Header().Set("Connection", "close")
		_ = http.NewResponseController(a).SetReadDeadline(time.Now().Add(bodyGrace))
	}
}

// writeChallenge answers a client that is not admitted.
func writeChallenge(a *answer, r *http.Request, challenge auth.Challenge) {
	// It reads what credentialOnly leaves, not what the client claims.
	challenge.SetHeaders(credentialOnly(r), a)
	writeError(a, errcode.ErrorCodeUnauthorized.WithMessage(errcode.ErrorCodeUnauthorized.Message()))
}
