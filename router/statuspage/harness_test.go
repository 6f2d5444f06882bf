package statuspage

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/net/html"

	"registrycache/router/statuspage/pagetest"
	"registrycache/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for; reaching it is a failure.
const patience = 20 * time.Second

var noon = time.Date(2026, time.November, 20, 12, 0, 30, 0, time.UTC)

// told is a source of what a document says, changed if wanted.
func told(t testing.TB, changes ...func(*status.Document)) *source {
	t.Helper()
	document := pagetest.Example(noon)
	for _, change := range changes {
		change(&document)
	}
	raw, err := json.Marshal(document)
	require.NoError(t, err)
	return newSource(func(context.Context) ([]byte, error) { return raw, nil })
}

// teller is a supervisor whose answers change.
type teller struct {
	mu       sync.Mutex
	document status.Document
	fault    error
	asked    int
}

func newTeller() *teller { return &teller{document: pagetest.Example(noon)} }

func (s *teller) ask(context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.fault != nil {
		return nil, s.fault
	}
	return json.Marshal(s.document)
}

// set changes it while it may be asked.
func (s *teller) set(change func(*teller)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// get asks a page as a browser does.
func get(t testing.TB, p *Page, path string) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://cache.example:8443"+path, nil)
	p.ServeHTTP(w, r)
	return w.Result()
}

// show is the page that a document makes.
func show(t testing.TB, changes ...func(*status.Document)) *shown {
	t.Helper()
	response := get(t, newPage(told(t, changes...)), Path)
	require.Equal(t, http.StatusOK, response.StatusCode)
	return parse(t, response.Body)
}

// shown is a page as a browser has it.
type shown struct {
	t    testing.TB
	root *html.Node
}

func parse(t testing.TB, body io.Reader) *shown {
	t.Helper()
	root, err := html.Parse(body)
	require.NoError(t, err)
	return &shown{t, root}
}

// all are the elements with a tag name.
func (s *shown) all(tag string) (found []*html.Node) {
	for n := range s.root.Descendants() {
		if n.Type == html.ElementNode && (tag == "*" || n.Data == tag) {
			found = append(found, n)
		}
	}
	return found
}

// byID is the element with this id.
func (s *shown) byID(id string) *html.Node {
	s.t.Helper()
	for _, n := range s.all("*") {
		if value, ok := attribute(n, "id"); ok && value == id {
			return n
		}
	}
	require.Fail(s.t, "no element", "#%s", id)
	return nil
}

// text is that of an element, its white space made one blank.
func (s *shown) text(id string) string {
	s.t.Helper()
	return textOf(s.byID(id))
}

// blocks are elements whose text stands apart.
var blocks = strings.Fields("p li div dt dd td th tr h1 h2 h3 ul dl text title desc")

func textOf(n *html.Node) string {
	var all strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			all.WriteString(d.Data)
		}
		if d.Type == html.ElementNode && slices.Contains(blocks, d.Data) {
			all.WriteString(" ")
		}
	}
	return strings.Join(strings.Fields(all.String()), " ")
}

func attribute(n *html.Node, name string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val, true
		}
	}
	return "", false
}
