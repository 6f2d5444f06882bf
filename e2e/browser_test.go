package e2e

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// browser is Debian's Chromium without a window and with a profile of its own.
// Without it the test is skipped by name.
func browser(t *testing.T, more ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	harness.Require(t, "chromium")
	path, err := exec.LookPath("chromium")
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "rcbrowser")
	require.NoError(t, err)
	t.Cleanup(func() {
		// Its helpers end a little later than the browser, and write until then.
		harness.Eventually(t, func() bool { return os.RemoveAll(dir) == nil }, "the browser's profile is removed")
	})
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(path), chromedp.UserDataDir(dir), chromedp.Env("HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_CACHE_HOME="+dir),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
	}
	for _, flag := range []string{
		"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync",
		"disable-breakpad", "disable-dev-shm-usage", "disable-extensions", "hide-scrollbars",
	} {
		options = append(options, chromedp.Flag(flag, true))
	}
	ctx, stop := chromedp.NewExecAllocator(t.Context(), append(options, more...)...)
	ctx, closeAll := chromedp.NewContext(ctx)
	t.Cleanup(func() { closeAll(); stop() })
	require.NoError(t, chromedp.Do(ctx), "chromium starts")
	return ctx
}

// look is how a page is looked at.
type look struct {
	scheme        string // light or dark
	width, height int64
	noScript      bool
}

var (
	desktop = look{scheme: "light", width: 1280, height: 900}
	night   = look{scheme: "dark", width: 1280, height: 900}
	phone   = look{scheme: "light", width: 360, height: 740}
)

// tab is one tab, which notes all that a page may not do: ask other hosts, break
// its policy, or have its script fail.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu     sync.Mutex
	host   string
	faults []string
}

// open opens a page in a new tab.
func open(browser context.Context, t *testing.T, address string, l look) *tab {
	t.Helper()
	ctx, closeTab := chromedp.NewContext(browser)
	t.Cleanup(closeTab)
	u, err := url.Parse(address)
	require.NoError(t, err)
	p := &tab{t: t, ctx: ctx, host: u.Host}
	require.NoError(t, chromedp.Listen(ctx, p.note))
	for _, enable := range []func() (cdp.Empty, error){
		func() (cdp.Empty, error) { return chromedp.Call(ctx, network.Enable, network.EnableParams{}) },
		func() (cdp.Empty, error) { return chromedp.Call(ctx, log.Enable, cdp.Empty{}) },
		func() (cdp.Empty, error) { return chromedp.Call(ctx, audits.Enable, cdp.Empty{}) },
		func() (cdp.Empty, error) {
			return chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: l.scheme}},
			})
		},
		func() (cdp.Empty, error) {
			return chromedp.Call(ctx, emulation.SetScriptExecutionDisabled,
				emulation.SetScriptExecutionDisabledParams{Value: l.noScript})
		},
	} {
		_, err := enable()
		require.NoError(t, err)
	}
	require.NoError(t, chromedp.Do(ctx, chromedp.EmulateViewport(l.width, l.height), chromedp.Navigate(address)))
	return p
}

func (p *tab) note(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err != nil || u.Host != p.host {
			p.faults = append(p.faults, "asked another host: "+e.Request.URL)
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			p.faults = append(p.faults, "log: "+e.Entry.Text)
		}
	case *runtime.EventExceptionThrown:
		p.faults = append(p.faults, "script: "+e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		p.faults = append(p.faults, "console: "+string(e.Type))
	case *audits.EventIssueAdded:
		if e.Issue.Code == audits.InspectorIssueCodeContentSecurityPolicyIssue {
			p.faults = append(p.faults, "policy: "+e.Issue.Details.ContentSecurityPolicyIssueDetails.ViolatedDirective)
		}
	}
}

// faultless checks what was noted, and that nothing of the page is out of sight.
func (p *tab) faultless() {
	p.t.Helper()
	overflow := eval[int](p, `document.documentElement.scrollWidth - document.documentElement.clientWidth`)
	assert.LessOrEqual(p.t, overflow, 0, "the page scrolls sideways")
	p.mu.Lock()
	defer p.mu.Unlock()
	assert.Empty(p.t, p.faults)
}

// eval evaluates an expression in the page, also where its scripts are off.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	value, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression))
	require.NoError(p.t, err, expression)
	return value
}

// text is what is to be read in an element.
func (p *tab) text(selector string) string {
	p.t.Helper()
	return strings.Join(strings.Fields(eval[string](p, `document.querySelector('`+selector+`').innerText`)), " ")
}
