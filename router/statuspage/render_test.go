package statuspage

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/status"
)

func TestPageTellsEverything(t *testing.T) {
	p := show(t)
	for id, wanted := range map[string][]string{
		"state":  {"registry-cache cache.example:8443", "The cache is: degraded", "Version v1.4.0", "Up for 12 d", "As of 2026-11-20 12:00:30 UTC"},
		"notice": {"docker.io limits the rate of requests"},
		"figures": {"Hits today 9", "of 13,455 requests", "Saved in 7 days", "Store 212 GiB 88.5 % of 240 GiB",
			"Fetching now 3 blobs 95 MiB/s from upstreams"},
		"traffic": {"from the cache, ", "fetched for them, ", "24 GiB", "Bytes sent to clients within 7 days", "Day Requests Hits From the cache Fetched Failed"},
		"fills": {"quay.io/fedora/fedora-coreos 5f2c8e0a7be1", "912 MiB of 1.3 GiB 84 MiB/s 5 s left 12 clients",
			"3.0 MiB, size not known yet 2.0 MiB/s 2 clients", "61 MiB of 486 MiB 9.4 MiB/s 45 s left 1 client"},
		"upstream-docker.io": {"docker.io failing also dh", "Circuit open: known tags are served unasked", "Credentials accepted", "Last answer 9 min ago",
			"Rate limit 0 of 200 left per 6 h", "Today ", "7 days ", "In all ", "Last error, 9 min ago: 429 Too Many Requests"},
		"upstream-ghcr.io":                    {"answers", "Credentials some are refused", "Last answer just now", "1 d 2 h ago: 403 Forbidden"},
		"upstream-registry.corp.example_5000": {"registry.corp.example:5000", "worker restarting", "Last answer none yet", "Today 0 – –"},
		"resting":                             {"Not asked yet mcr.microsoft.com public.ecr.aws also ecr"},
		"images":                              {"Busiest in 7 days quay.io/prometheus/node-exporter:v1.9.1", "4,218 pulls first 54 d ago last just now", "Newest here ghcr.io/home-assistant"},
		"store": {"Used 212 GiB of 240 GiB", "Cleaned when over 288 GiB", "171 GiB of 492 GiB free, cleaned below 25 GiB", "Next clean in 17 min",
			"1 d 19 h ago: 48 GiB freed, 184 images, in 2 s", "9.2 GiB under local/: 83 tags in 14 repositories", "docker.io 61 GiB of 80 GiB"},
		"processes": {"router ready 12 d 0 41 MiB", "worker registry.k8s.io ready 2 restarts 1 d 7 h 2 22 MiB", "restarting 4 restarts – 4 –"},
		"problems":  {"error worker registry.corp.example_5000 4 min ago 4 times, this the last the process ended: exit status 1", "warn cleaner"},
	} {
		text := p.text(id)
		for _, words := range wanted {
			assert.Contains(t, text, words, id)
		}
	}
	assert.Equal(t, "degraded · registry-cache", textOf(p.all("title")[0]))
	assert.NotContains(t, p.text("fills"), "more")
}

// What assistive technology and the policy of the page rest on.
func TestPageIsSane(t *testing.T) {
	p := show(t)
	ids := map[string]bool{}
	for _, n := range p.all("*") {
		if id, ok := attribute(n, "id"); ok {
			assert.False(t, ids[id], "#%s is there twice", id)
			ids[id] = true
		}
	}
	level := 0
	for _, n := range p.all("*") {
		for _, a := range n.Attr {
			assert.NotEqual(t, "style", a.Key, "the policy forbids it")
			assert.False(t, strings.HasPrefix(a.Key, "on"), "%s: the policy forbids it", a.Key)
			switch a.Key {
			case "aria-labelledby":
				for id := range strings.FieldsSeq(a.Val) {
					assert.True(t, ids[id], "%s names #%s", n.Data, id)
				}
			case "href", "src":
				u, err := url.Parse(a.Val)
				require.NoError(t, err)
				assert.Empty(t, u.Host, a.Val)
				assert.True(t, Serves(u.Path) || u.Fragment == "main", a.Val)
			}
		}
		switch n.Data {
		case "h1", "h2", "h3":
			next := int(n.Data[1] - '0')
			assert.LessOrEqual(t, next, level+1, "a heading is left out before %q", textOf(n))
			level = next
		case "th":
			_, ok := attribute(n, "scope")
			assert.True(t, ok, "%q heads a row or a column", textOf(n))
		case "script":
			assert.Nil(t, n.FirstChild, "no inline script")
		case "section":
			_, labelled := attribute(n, "aria-labelledby")
			_, label := attribute(n, "aria-label")
			assert.True(t, labelled || label, "a section has a name")
		case "progress":
			_, ok := attribute(n, "aria-label")
			assert.True(t, ok)
		case "button":
			assert.NotEqual(t, "Copy", textOf(n), "it says what it copies")
		}
	}
	for _, landmark := range []string{"header", "main", "footer"} {
		assert.Len(t, p.all(landmark), 1, landmark)
	}
	root := p.all("html")[0]
	language, _ := attribute(root, "lang")
	assert.Equal(t, "en", language)
}

// Names, errors and log lines are others' words.
func TestHostileTexts(t *testing.T) {
	const hostile = `</p><script>alert(1)</script><img src=x onerror=alert(1)>"' onclick=alert(1) x='&amp;{{.}}`
	p := show(t, func(d *status.Document) {
		raw, err := json.Marshal(d)
		require.NoError(t, err)
		var tree any
		require.NoError(t, json.Unmarshal(raw, &tree))
		raw, err = json.Marshal(poison(tree, hostile))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(raw, d))
	})
	assert.Len(t, p.all("script"), 1)
	assert.Empty(t, p.all("img"))
	for _, n := range p.all("*") {
		for _, a := range n.Attr {
			assert.False(t, strings.HasPrefix(a.Key, "on"), "%s of %s", a.Key, n.Data)
		}
	}
	plain := strings.Join(strings.Fields(hostile), " ")
	for _, id := range []string{"state", "notice", "fills", "upstreams", "images", "store", "processes", "problems"} {
		assert.Contains(t, p.text(id), plain, id)
	}
}

// poison replaces all texts but times.
func poison(value any, by string) any {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			v[key] = poison(inner, by)
		}
	case []any:
		for i, inner := range v {
			v[i] = poison(inner, by)
		}
	case string:
		if !strings.HasPrefix(v, "20") || !strings.Contains(v, "T") {
			return by
		}
	}
	return value
}

// A cache that has only just begun shows what to do next.
func TestFreshCache(t *testing.T) {
	p := show(t, func(d *status.Document) {
		d.State, d.Reasons, d.Fills, d.Problems, d.Hosted = "ok", nil, nil, nil, nil
		d.Traffic = &status.Traffic{Since: noon}
		d.Store = &status.Store{DiskFree: 5 << 30, DiskSize: 10 << 30}
		d.Upstreams = []status.Upstream{{Name: "docker.io", Path: "docker.io", State: status.Untried, Circuit: status.CircuitClosed, Credentials: status.Anonymous, Process: "ready"}}
	})
	assert.Equal(t, "registry-cache", textOf(p.all("title")[0]))
	assert.Contains(t, p.text("traffic"), "The first pull: podman pull --tls-verify=false cache.example:8443/docker.io/library/hello-world:latest")
	assert.Contains(t, p.text("figures"), "Hits today – no requests yet")
	assert.Contains(t, p.text("figures"), "Store 0 B 5.0 GiB of the disk free")
	assert.Contains(t, p.text("figures"), "Fetching now 0 all that is asked for is here")
	assert.Contains(t, p.text("problems"), "None since the start.")
	assert.Contains(t, p.text("store"), "Next clean not planned")
	assert.Contains(t, p.text("store"), "Last clean none yet")
	_, hidden := attribute(p.byID("notice"), "hidden")
	assert.True(t, hidden)
	assert.Empty(t, p.all("progress"))
}

func TestWhatIsNotKnownIsSaid(t *testing.T) {
	p := show(t, func(d *status.Document) {
		d.Traffic, d.Store, d.Upstreams, d.Processes = nil, nil, nil, nil
		d.State, d.Offline, d.Reasons = "ok", true, nil
	})
	assert.Contains(t, p.text("traffic"), "the logger does not answer")
	assert.Contains(t, p.text("figures"), "the cleaner does not answer")
	assert.Contains(t, p.text("store"), "the cleaner does not answer")
	assert.Contains(t, p.text("upstreams"), "No upstream is configured.")
	assert.Contains(t, p.text("state"), "ok, offline")
	assert.Contains(t, p.text("notice"), "OFFLINE is set")
}

func TestManyFillsDoNotPushTheRestAway(t *testing.T) {
	p := show(t, func(d *status.Document) {
		for len(d.Fills) < 12 {
			d.Fills = append(d.Fills, d.Fills[0])
			d.Fills[len(d.Fills)-1].Digest = strings.Repeat(string(rune('a'+len(d.Fills))), 64)
		}
	})
	assert.Len(t, p.all("progress"), maxFills)
	assert.Contains(t, p.text("fills"), "and 7 more")
}

func TestFirstPull(t *testing.T) {
	named := func(names ...string) (all []status.Upstream) {
		for _, n := range names {
			all = append(all, status.Upstream{Name: n, Path: strings.ReplaceAll(n, ":", "_")})
		}
		return all
	}
	for _, try := range []struct {
		at        place
		upstreams []status.Upstream
		want      string
	}{
		{place{"c:1", true}, named("docker.io", "quay.io"), "podman pull c:1/quay.io/podman/hello:latest"},
		{place{"c:1", false}, named("ghcr.io", "docker.io"), "podman pull --tls-verify=false c:1/docker.io/library/hello-world:latest"},
		{place{"", true}, named("a.example:5000", "ghcr.io"), "podman pull <this address>/a.example_5000/REPOSITORY:TAG"},
		{place{"c", true}, nil, "podman pull c/UPSTREAM/REPOSITORY:TAG"},
	} {
		v := &view{Place: try.at, Document: status.Document{Upstreams: try.upstreams}}
		assert.Equal(t, try.want, v.FirstPull())
	}
}

// Somebody who makes names up does not fill the memory.
func TestRenderedIsKeptForFewPlaces(t *testing.T) {
	s, err := told(t).current(t.Context())
	require.NoError(t, err)
	for i := range 3 * maxRemembered {
		at := place{Host: strings.Repeat("a", i)}
		assert.Equal(t, sections(s, at, nil), sections(s, at, nil))
	}
	assert.Len(t, s.rendered, maxRemembered)
}
