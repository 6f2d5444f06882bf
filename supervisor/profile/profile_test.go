package profile

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func get(ctx context.Context, h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, Path+path, nil))
	return w
}

func TestEverythingListedIsThere(t *testing.T) {
	h := Enable()
	assert.Equal(t, 512<<10, runtime.MemProfileRate)
	list := strings.Fields(get(t.Context(), h, "").Body.String())
	assert.Len(t, list, len(lookups)+len(recorded))
	for _, name := range list {
		w := get(t.Context(), h, name+"?seconds=0")
		assert.Equal(t, http.StatusOK, w.Code, name)
		assert.NotZero(t, w.Body.Len(), name)
	}
	assert.Contains(t, get(t.Context(), h, "goroutine?debug=2").Body.String(), "goroutine ")
}

func TestBadQueries(t *testing.T) {
	h := Enable()
	for path, want := range map[string]string{
		"profile?seconds=1h":  "seconds=1h: write a whole number from 0 to 600\n",
		"trace?seconds=601":   "seconds=601: write a whole number from 0 to 600\n",
		"heap?debug=3":        "debug=3: write a whole number from 0 to 2\n",
		"profile?seconds=-30": "seconds=-30: write a whole number from 0 to 600\n",
	} {
		w := get(t.Context(), h, path)
		assert.Equal(t, http.StatusBadRequest, w.Code, path)
		assert.Equal(t, want, w.Body.String())
	}
	assert.Equal(t, http.StatusNotFound, get(t.Context(), h, "cmdline").Code)
}

func TestOneRecordingAtATime(t *testing.T) {
	h := Enable()
	require.NoError(t, pprof.StartCPUProfile(&bytes.Buffer{}))
	w := get(t.Context(), h, "profile?seconds=0")
	pprof.StopCPUProfile()
	assert.Equal(t, http.StatusConflict, w.Code)
	assert.Contains(t, w.Body.String(), "one at a time")
	assert.Equal(t, http.StatusOK, get(t.Context(), h, "profile?seconds=0").Code)
}

func TestRecordingEndsWithItsClient(t *testing.T) {
	gone, leave := context.WithCancel(t.Context())
	leave()
	assert.Equal(t, http.StatusOK, get(gone, Enable(), "profile?seconds=600").Code)
}
