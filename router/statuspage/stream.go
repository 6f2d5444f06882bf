package statuspage

import (
	"encoding/json"
	"net/http"
	"time"
)

const (
	// updateEvery is how often a page that is looked at is brought up to date.
	updateEvery = 2 * time.Second
	// heartbeat is after how long without news a comment is sent, so that
	// nothing on the way takes the connection for dead.
	heartbeat = 15 * time.Second
	// writeTimeout is how long a client may take for one message.
	writeTimeout = 30 * time.Second
	// streamLife ends each stream, which the browser begins anew by itself:
	// who was allowed to look is asked for it again.
	streamLife = 15 * time.Minute
)

// update is the data of an event.
type update struct {
	// Release names the files of the page: one that has others loads itself
	// again.
	Release string `json:"release"`
	// Sections are those that changed, by the id of their element.
	Sections map[string]string `json:"sections"`
}

// stream sends what changes for as long as the client looks.
func (p *Page) stream(w http.ResponseWriter, r *http.Request) {
	select {
	case p.seats <- struct{}{}:
		defer func() { <-p.seats }()
	default:
		w.Header().Set("Retry-After", retryAfter)
		http.Error(w, "too many watch this page; it works without live updates", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx in between passes it on as it comes
	// The write deadline would outlive the stream.
	w.Header().Set("Connection", "close")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	p.watch(newMessages(w), r)
}

func (p *Page) watch(to *messages, r *http.Request) {
	ticker := time.NewTicker(updateEvery)
	defer ticker.Stop()
	end := time.NewTimer(streamLife)
	defer end.Stop()
	for {
		s, err := p.source.current(r.Context())
		if r.Context().Err() != nil || to.send(sections(s, placeOf(r), err)) != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-end.C:
			return
		case <-p.closing:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// messages writes to one client what it does not have yet.
type messages struct {
	w       http.ResponseWriter
	control *http.ResponseController
	sent    map[string]string
	last    time.Time
}

func newMessages(w http.ResponseWriter) *messages {
	return &messages{w: w, control: http.NewResponseController(w), sent: make(map[string]string)}
}

func (m *messages) send(current []section) error {
	news := update{Release: release(), Sections: make(map[string]string)}
	for _, s := range current {
		if m.sent[s.ID] != s.HTML {
			m.sent[s.ID], news.Sections[s.ID] = s.HTML, s.HTML
		}
	}
	switch {
	case len(news.Sections) > 0:
		data, err := json.Marshal(news) // has no line break, which would end the field
		if err != nil {
			return err
		}
		return m.write("data: " + string(data) + "\n\n")
	case time.Since(m.last) >= heartbeat:
		return m.write(":\n\n")
	}
	return nil
}

func (m *messages) write(message string) error {
	m.last = time.Now()
	// Not every ResponseWriter has one; the server's has.
	_ = m.control.SetWriteDeadline(m.last.Add(writeTimeout))
	if _, err := m.w.Write([]byte(message)); err != nil {
		return err
	}
	return m.control.Flush()
}
