package statuspage

import (
	"crypto/sha256"
	_ "embed" // the files of the page
	"encoding/hex"
	"net/http"
	"sync"
)

//go:embed page.css
var styleSheet string

//go:embed page.js
var script string

//go:embed icon.svg
var icon string

// file is a part of the page that is the same for everyone.
type file struct {
	mediaType string
	content   string
	// hash is of the content.
	hash func() string
}

func newFile(mediaType, content string) *file {
	return &file{mediaType, content, sync.OnceValue(func() string {
		sum := sha256.Sum256([]byte(content))
		return hex.EncodeToString(sum[:8])
	})}
}

const (
	stylePath  = "/status/page.css"
	scriptPath = "/status/page.js"
	iconPath   = "/status/icon.svg"
)

var files = map[string]*file{
	stylePath:  newFile("text/css; charset=utf-8", styleSheet),
	scriptPath: newFile("text/javascript; charset=utf-8", script),
	iconPath:   newFile("image/svg+xml", icon),
}

// address is how the page names a file: one with another content has another.
func address(path string) string { return path + "?" + files[path].hash() }

// serve answers conditional requests as RFC 9110 section 13 has it.
func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	etag := `"` + f.hash() + `"`
	w.Header().Set("ETag", etag)
	if r.URL.RawQuery == f.hash() {
		w.Header().Set("Cache-Control", "private, max-age=31536000, immutable")
	} else {
		w.Header().Set("Cache-Control", "no-cache")
	}
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", f.mediaType)
	write(w, http.StatusOK, []byte(f.content))
}
