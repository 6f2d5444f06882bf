package statuspage

import (
	"bytes"
	_ "embed" // the template
	"html/template"
	"net/http"
	"sync"
)

//go:embed page.html
var templateText string

// templates are parsed when the page is looked at first: most processes never
// need them.
var templates = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("").Funcs(words).Parse(templateText))
})

// place is how the client reaches the cache.
type place struct {
	Host string
	TLS  bool
}

// maxHost is the length of the longest name with a port; what is longer is none.
const maxHost = 253 + len(":65535")

func placeOf(r *http.Request) place {
	p := place{Host: r.Host, TLS: r.TLS != nil}
	if len(p.Host) > maxHost {
		p.Host = ""
	}
	return p
}

// section is a part of the page, the element with this id.
type section struct{ ID, HTML string }

// sectionIDs are the templates of the sections, as they follow each other. The
// first two are all there is while no state is known.
var sectionIDs = []string{
	"state", "notice", "figures", "traffic", "fills", "upstreams", "images", "store", "processes", "problems",
}

const sectionsWithoutState = 2

// sections renders a state, which is nil when none is known. err says why it is
// old or nil.
func sections(s *snapshot, at place, err error) []section {
	if err != nil || s == nil {
		return render(newView(s, at, err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	done, ok := s.rendered[at]
	if !ok {
		done = render(newView(s, at, nil))
		s.remember(at, done)
	}
	return done
}

// maxRemembered is for how many places a rendered state is kept. One is what
// there is; a client can name any.
const maxRemembered = 8

func (s *snapshot) remember(at place, done []section) {
	if s.rendered == nil {
		s.rendered = make(map[place][]section)
	}
	if len(s.rendered) < maxRemembered {
		s.rendered[at] = done
	}
}

func render(v *view) []section {
	ids := sectionIDs
	if !v.Known {
		ids = ids[:sectionsWithoutState]
	}
	all := make([]section, len(ids))
	for i, id := range ids {
		all[i] = section{id, execute(id, v)}
	}
	return all
}

// renderPage renders the whole page.
func renderPage(s *snapshot, at place, err error) []byte {
	return []byte(execute("page", map[string]any{
		"Title": newView(s, at, err).Title(), "Sections": sections(s, at, err),
		"Style": address(stylePath), "Script": address(scriptPath), "Icon": address(iconPath),
		"Release": release(), "Events": eventsPath,
	}))
}

// release names the files that go with the page.
func release() string { return files[stylePath].hash() + files[scriptPath].hash() }

func execute(name string, data any) string {
	var out bytes.Buffer
	if err := templates().ExecuteTemplate(&out, name, data); err != nil {
		panic(err) // the template does not fit its data, whatever that holds
	}
	return out.String()
}
