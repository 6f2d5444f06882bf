package e2e

import (
	"net/http"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"registrycache/e2e/harness"
)

// waitFor waits until an expression in the page is true.
func (p *tab) waitFor(expression string) {
	p.t.Helper()
	_, err := chromedp.Run(p.ctx, chromedp.Poll[bool](expression,
		chromedp.WithPollingMutation(), chromedp.WithPollingTimeout(harness.Patience)))
	require.NoError(p.t, err, "%s\n%s", expression, eval[string](p, `document.body.innerText`))
}

const isLive = `document.documentElement.classList.contains('live')`

// A browser that has the page open sees a pull without loading it again.
func TestPageIsLive(t *testing.T) {
	t.Parallel()
	b := browser(t)
	u := harness.NewUpstream(t)
	img := harness.Image(t, 200_000)
	u.Push(t, "podman/hello:latest", img)
	layer, _ := harness.Layer(t, img, 0)
	a := harness.Cache(t, u)
	c := a.HTTP(t)

	p := open(b, t, "http://"+a.Addr+"/", desktop)
	p.waitFor(isLive)
	assert.Contains(t, p.text("#traffic .command"), "podman pull --tls-verify=false "+a.Addr+"/quay.io/podman/hello:latest")
	assert.Contains(t, p.text("#figures"), "no requests yet")
	eval[bool](p, `window.notLoadedAgain = true`)

	blob := "/v2/quay.io/podman/hello/blobs/" + layer
	c.Get(manifestPath)
	c.Get(blob)
	a.WaitStored(t, layer)
	p.waitFor(`document.querySelector('#figures').innerText.includes('0 of 2 requests')`)
	assert.Contains(t, p.text("#upstream-quay\\\\.io"), "answers")
	assert.Contains(t, p.text("#images"), "quay.io/podman/hello:latest")

	// What the reader did stays as it is.
	eval[bool](p, `(document.querySelector('#traffic-table').open = true)`)
	eval[bool](p, `(document.querySelector('#traffic-table summary').focus(), true)`)
	c.Get(blob)
	p.waitFor(`document.querySelector('#figures').innerText.includes('1 of 3 requests')`)
	assert.True(t, eval[bool](p, `document.querySelector('#traffic-table').open`))
	assert.Equal(t, "SUMMARY", eval[string](p, `document.activeElement.tagName`))
	assert.True(t, eval[bool](p, `window.notLoadedAgain`))

	require.NoError(t, chromedp.Do(p.ctx, chromedp.Click(chromedp.CSS("#images .copy"))))
	p.waitFor(`document.querySelector('#said').innerText === 'Copied: podman pull --tls-verify=false ` + a.Addr + `/quay.io/podman/hello:latest'`)
	p.faultless()

	// The same without a script, and on a small screen.
	l := phone
	l.noScript = true
	plain := open(b, t, "http://"+a.Addr+"/", l)
	assert.Contains(t, plain.text("#figures"), "1 of 3 requests")
	assert.Contains(t, plain.text("footer"), "the time it was loaded")
	assert.Equal(t, "none", eval[string](plain, `getComputedStyle(document.querySelector('.copy')).display`))
	plain.faultless()

	a.Stop() // no browser that looks holds the end up
}

// A page that is open outlives the router, and the whole cache.
func TestPageComesBackWithTheCache(t *testing.T) {
	t.Parallel()
	b := browser(t)
	a := harness.Cache(t, harness.NewUpstream(t))
	p := open(b, t, "http://"+a.Addr+"/", desktop)
	p.waitFor(isLive)
	// The cache may be back before anybody here looks.
	eval[bool](p, `window.losses = 0; window.notLoadedAgain = true;
		new MutationObserver(() => { if (!(`+isLive+`)) window.losses++; })
			.observe(document.documentElement, { attributeFilter: ['class'] });
		true`)
	require.NoError(t, syscall.Kill(a.Child(t, "registry-cache router"), syscall.SIGKILL))
	p.waitFor(`window.losses > 0 && ` + isLive)
	p.waitFor(`document.querySelector('#process-router .roomy').innerText === '1'`)
	eval[int](p, `window.losses = 0`)
	a.Restart()
	p.waitFor(`window.losses > 0 && ` + isLive)
	p.waitFor(`document.querySelector('#process-router .roomy').innerText === '0'`)
	assert.True(t, eval[bool](p, `window.notLoadedAgain`))
}

func TestPageAsksForAPassword(t *testing.T) {
	t.Parallel()
	b := browser(t)
	a := startHtpasswd(t, harness.NewUpstream(t), bcrypt.MinCost, "puller", "secret")
	for _, path := range []string{"/", "/status.json", "/status/events", "/status/page.js"} {
		answer := a.HTTP(t).With("Accept", "text/html").Must(http.MethodGet, path)
		assert.Equal(t, http.StatusUnauthorized, answer.Status, path)
		assert.Equal(t, `Basic realm="the cache"`, answer.Header.Get("WWW-Authenticate"), path)
		assert.Contains(t, string(answer.Body), "give a user name and password", path)
	}

	// The browser gives the password again for the style sheet, the script and
	// the stream.
	p := open(b, t, "http://puller:secret@"+a.Addr+"/", desktop)
	p.waitFor(isLive)
	assert.Contains(t, p.text("#processes"), "router ready")
	p.faultless()
}
