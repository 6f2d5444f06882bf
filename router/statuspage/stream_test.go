package statuspage

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/router/statuspage/pagetest"
	"registrycache/status"
)

// client is one that watches, and can be slow.
type client struct {
	mu     sync.Mutex
	header http.Header
	status int
	got    strings.Builder
	fault  error
}

func (c *client) Header() http.Header { return c.header }
func (c *client) WriteHeader(s int)   { c.status = s }
func (c *client) Flush()              {}
func (c *client) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fault != nil {
		return 0, c.fault
	}
	return c.got.Write(p)
}

// messages are the events that came, empty ones being comments.
func (c *client) messages(t *testing.T) (all []update) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for message := range strings.SplitSeq(strings.TrimSuffix(c.got.String(), "\n\n"), "\n\n") {
		var u update
		if data, ok := strings.CutPrefix(message, "data: "); ok {
			assert.NotContains(t, data, "\n")
			require.NoError(t, json.Unmarshal([]byte(data), &u))
		} else {
			assert.Equal(t, ":", message)
		}
		all = append(all, u)
	}
	return all
}

// watch has a client watch until the stream ends.
func watch(ctx context.Context, p *Page) (c *client, ended chan struct{}) {
	c, ended = &client{header: http.Header{}}, make(chan struct{})
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://cache"+eventsPath, nil)
	go func() { defer close(ended); p.ServeHTTP(c, r) }()
	return c, ended
}

func TestStreamSendsWhatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		supervisor := newTeller()
		p := newPage(newSource(supervisor.ask))
		ctx, leave := context.WithCancel(t.Context())
		c, ended := watch(ctx, p)
		synctest.Wait()
		messages := c.messages(t)
		require.Len(t, messages, 1)
		assert.Len(t, messages[0].Sections, len(sectionIDs), "the page may be older than the stream")
		assert.Equal(t, "text/event-stream", c.header.Get("Content-Type"))
		assert.Equal(t, release(), messages[0].Release)

		time.Sleep(updateEvery)
		synctest.Wait()
		require.Len(t, c.messages(t), 1, "nothing changed")
		supervisor.set(func(s *teller) { s.document.Fills = s.document.Fills[:1] })
		time.Sleep(updateEvery)
		synctest.Wait()
		messages = c.messages(t)
		require.Len(t, messages, 2)
		assert.Len(t, messages[1].Sections, 2)
		assert.Contains(t, messages[1].Sections["fills"], "fedora-coreos")
		assert.Contains(t, messages[1].Sections, "figures")

		time.Sleep(heartbeat + updateEvery)
		synctest.Wait()
		assert.Equal(t, update{}, c.messages(t)[2], "a sign of life")

		leave()
		<-ended
		before := supervisor.asked
		time.Sleep(time.Hour)
		assert.Equal(t, before, supervisor.asked, "nobody looks")
	})
}

func TestStreamTellsThatThereIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		supervisor := newTeller()
		p := newPage(newSource(supervisor.ask))
		c, ended := watch(t.Context(), p)
		synctest.Wait()
		supervisor.set(func(s *teller) { s.fault = context.DeadlineExceeded })
		time.Sleep(updateEvery)
		synctest.Wait()
		messages := c.messages(t)
		require.Len(t, messages, 2)
		assert.Contains(t, messages[1].Sections["notice"], "does not answer")
		assert.Contains(t, messages[1].Sections["state"], "no answer")
		assert.Len(t, messages[1].Sections, 2)
		p.Close()
		<-ended
	})
}

// empty is a state of which there is little to render.
func empty(context.Context) ([]byte, error) { return []byte(`{"state":"ok"}`), nil }

func TestStreamsEnd(t *testing.T) {
	for name, end := range map[string]func(p *Page, c *client, leave func()){
		"closed":      func(p *Page, _ *client, _ func()) { p.Close() },
		"client left": func(_ *Page, _ *client, leave func()) { leave() },
		"client stuck": func(_ *Page, c *client, _ func()) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.fault = context.DeadlineExceeded
		},
		"by themselves, so that access is asked for again": func(*Page, *client, func()) { time.Sleep(streamLife) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPage(newSource(empty))
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				c, ended := watch(ctx, p)
				synctest.Wait()
				begin := time.Now()
				end(p, c, leave)
				<-ended
				assert.LessOrEqual(t, time.Since(begin), max(streamLife, heartbeat+updateEvery))
				assert.Empty(t, p.seats)
				p.Close()
			})
		})
	}
}

func TestStreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPage(newSource(empty))
		var all []chan struct{}
		for range maxStreams {
			_, ended := watch(t.Context(), p)
			all = append(all, ended)
		}
		synctest.Wait()
		one, ended := watch(t.Context(), p)
		<-ended
		assert.Equal(t, http.StatusServiceUnavailable, one.status)
		assert.NotEmpty(t, one.header.Get("Retry-After"))
		p.Close()
		for _, ended := range all {
			<-ended
		}
		one, ended = watch(t.Context(), p)
		<-ended
		assert.Equal(t, http.StatusOK, one.status, "seats are given back")
	})
}

func TestStreamOverHTTP(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	supervisor := pagetest.Serve(t, socket, pagetest.Example(noon))
	p := New(socket)
	server := httptest.NewServer(p)
	defer server.Close()
	defer p.Close() // the server waits for its streams
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+eventsPath, nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	next := func() (u update) {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				require.NoError(t, json.Unmarshal([]byte(data), &u))
				return u
			}
		}
		require.NoError(t, lines.Err())
		require.Fail(t, "the stream ended")
		return u
	}
	host := fmt.Sprintf("registry-cache <small>%s</small>", strings.TrimPrefix(server.URL, "http://"))
	assert.Contains(t, next().Sections["state"], host)
	supervisor.Change(func(d *status.Document) { d.State = "ok" })
	assert.Contains(t, next().Sections["state"], ">ok</p>")

	r, err = http.NewRequestWithContext(t.Context(), http.MethodHead, server.URL+eventsPath, nil)
	require.NoError(t, err)
	head, err := http.DefaultClient.Do(r)
	require.NoError(t, err, "the answer to HEAD has an end")
	require.NoError(t, head.Body.Close())
}
