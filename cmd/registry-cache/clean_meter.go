package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/sys/unix"
)

// meterEvery is how often a line says how far it is where no bar can be drawn.
const meterEvery = 10 * time.Second

// meter shows how far bytes are done: a bar with rate and time left on a
// terminal, else a line now and then. A nil one shows nothing.
type meter struct {
	out  io.Writer
	what string

	mu      sync.Mutex
	drawn   *mpb.Progress
	bar     *mpb.Bar
	printed time.Time
}

func newMeter(out io.Writer, what string) *meter {
	m := &meter{out: out, what: what, printed: time.Now()}
	if f, ok := out.(*os.File); ok && isScreen(f) {
		m.drawn = mpb.New(mpb.WithOutput(out), mpb.WithWidth(40), mpb.WithRefreshRate(150*time.Millisecond))
	}
	return m
}

// isScreen says whether f is a terminal that has lines to draw on.
func isScreen(f *os.File) bool {
	if !isatty.IsTerminal(f.Fd()) {
		return false
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	return err == nil && size.Row > 0 && size.Col > 0
}

// set says how many bytes are done of how many. It may be called by any
// goroutine.
func (m *meter) set(done, all int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case all <= 0:
	case m.drawn == nil:
		if now := time.Now(); now.Sub(m.printed) >= meterEvery {
			m.printed = now
			_, _ = fmt.Fprintf(m.out, "%s %s of %s, %d %%\n", m.what, sizeText(done), sizeText(all), done*100/all)
		}
	case m.bar == nil:
		m.bar = m.drawn.AddBar(all,
			mpb.PrependDecorators(decor.Name(m.what)),
			mpb.AppendDecorators(
				decor.Percentage(decor.WC{W: 5}),
				decor.CountersKibiByte("  % .1f of % .1f"),
				decor.AverageSpeed(decor.SizeB1024(0), "  % .1f"),
				decor.Name("  "), decor.AverageETA(decor.ET_STYLE_GO), decor.Name(" left"),
			))
		fallthrough
	default:
		m.bar.SetTotal(all, false)
		m.bar.SetCurrent(done)
	}
}

// say prints a line that stays.
func (m *meter) say(line string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.drawn != nil {
		_, _ = m.drawn.Write([]byte(line + "\n"))
		return
	}
	_, _ = fmt.Fprintln(m.out, line)
}

// end leaves the bar as it is.
func (m *meter) end() {
	if m == nil || m.drawn == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bar != nil && !m.bar.Completed() {
		m.bar.Abort(false)
	}
	m.drawn.Wait()
}
