package router

import (
	"net/http"

	"registrycache/logger/accesslog"
)

const greeting = `This is registry-cache, a pull-through cache for container registries.

Pull through it by putting its address before the image's name:

    podman pull <this address>/quay.io/podman/hello:latest
`

// outside answers what is no path of the registry API.
func (h *handler) outside(a *answer, _ *http.Request, record *accesslog.Record) {
	a.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if record.Path == "/" {
		writeBody(a, http.StatusOK, []byte(greeting))
		return
	}
	writeBody(a, http.StatusNotFound, []byte("not found; the registry API is at /v2/\n"))
}
