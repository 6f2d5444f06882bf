package supervisor

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"registrycache/supervisor/profile"
)

// profiles gives those of all processes. That of the heap of the process that
// ps shows as `registry-cache worker quay.io` is at
// /debug/pprof/worker/quay.io/heap: the paths are such that `go tool pprof`
// takes them.
type profiles struct {
	list func() []*process
	own  http.Handler
}

// profiles returns what answers below profile.Path, nil if it is off.
func (s *supervisor) profiles() http.Handler {
	if !s.cfg.Pprof {
		return nil
	}
	return profiles{list: s.list, own: profile.Enable()}
}

func (p profiles) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest := strings.TrimPrefix(r.URL.Path, profile.Path)
	if rest == "" {
		p.index(w)
		return
	}
	slash := max(0, strings.LastIndexByte(rest, '/'))
	name, which := strings.ReplaceAll(rest[:slash], "/", " "), strings.TrimPrefix(rest[slash:], "/")
	child := &url.URL{Scheme: "http", Host: "child", Path: profile.Path + which, RawQuery: r.URL.RawQuery}
	if name == supervisorName {
		r.URL = child
		p.own.ServeHTTP(w, r)
		return
	}
	for _, process := range p.list() {
		if process.name != name {
			continue
		}
		i, err := process.ready()
		if err != nil {
			http.Error(w, name+": "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		proxy := httputil.ReverseProxy{
			Transport: i.admin,
			Rewrite:   func(out *httputil.ProxyRequest) { out.Out.URL = child },
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
				http.Error(w, name+": "+err.Error(), http.StatusBadGateway)
			},
		}
		proxy.ServeHTTP(w, r)
		return
	}
	http.Error(w, "no such process; "+profile.Path+" lists them", http.StatusNotFound)
}

// index lists the paths of the processes; below each is a list of its profiles.
func (p profiles) index(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	names := []string{supervisorName}
	for _, process := range p.list() {
		names = append(names, process.name)
	}
	for _, name := range names {
		_, _ = fmt.Fprintln(w, profile.Path+strings.ReplaceAll(name, " ", "/")+"/")
	}
}
