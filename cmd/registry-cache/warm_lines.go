package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"registrycache/warm"
)

// warmTally adds up how far it is. Its owner guards it.
type warmTally struct {
	// looked up of known.
	looked, known int
	// begun is when the first blob was known that is to be fetched.
	begun time.Time
	size  int64
	at    map[warm.Blob]int64
	// ended is what came of the blobs that are no longer at work, and lost the
	// size of those that failed.
	ended, lost int64
}

// grow takes note of how much there is to fetch.
func (t *warmTally) grow(size int64) {
	if t.at == nil {
		t.begun, t.at = time.Now(), map[warm.Blob]int64{}
	}
	t.size = size
}

// looking says whether there may be more to fetch than is known.
func (t *warmTally) looking() bool { return t.looked < t.known }

// fetching says whether there is anything to fetch so far.
func (t *warmTally) fetching() bool { return t.at != nil }

// total is how much comes in all, as far as is known.
func (t *warmTally) total() int64 { return t.size - t.lost }

func (t *warmTally) done() int64 {
	sum := t.ended
	for _, n := range t.at {
		sum += n
	}
	return sum
}

func (t *warmTally) end(b warm.Blob, err error) {
	delete(t.at, b)
	if err == nil {
		t.ended += b.Size
	} else {
		t.lost += b.Size
	}
}

// warmLines shows how far it is where no bar can be drawn: a line for every
// image that begins and ends, and one now and then.
type warmLines struct {
	warm.Unwatched
	out  io.Writer
	stop chan struct{}
	over sync.WaitGroup

	mu      sync.Mutex
	tally   warmTally
	retries warmRetries
}

func newWarmLines(out io.Writer) *warmLines {
	l := &warmLines{out: out, stop: make(chan struct{})}
	l.over.Go(l.nowAndThen)
	return l
}

func (l *warmLines) nowAndThen() {
	ticker := time.NewTicker(meterEvery)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			l.mu.Lock()
			if l.tally.known > 0 {
				l.print("%s", l.how(now))
			}
			l.mu.Unlock()
		case <-l.stop:
			return
		}
	}
}

// how says how far it is, with rate and time left once there is one.
func (l *warmLines) how(now time.Time) string {
	t := &l.tally
	looked := fmt.Sprintf("looked up %d of %d", t.looked, t.known)
	done, size := t.done(), t.total()
	rate := float64(done) / now.Sub(t.begun).Seconds()
	switch {
	case t.looking() && !t.fetching():
		return looked
	case t.looking():
		text := fmt.Sprintf("fetched %s of at least %s", sizeText(done), sizeText(size))
		if rate >= 1 {
			text += fmt.Sprintf(", %s/s", sizeText(int64(rate)))
		}
		return text + "; " + looked
	}
	text := fmt.Sprintf("fetched %s of %s", sizeText(done), sizeText(size))
	if size > 0 {
		text += fmt.Sprintf(", %d %%", done*100/size)
	}
	if rate >= 1 {
		left := time.Duration(float64(size-done) / rate * float64(time.Second))
		text += fmt.Sprintf(", %s/s, %s left", sizeText(int64(rate)), left.Round(time.Second))
	}
	return text
}

func (l *warmLines) print(format string, args ...any) {
	_, _ = fmt.Fprintln(l.out, printable(fmt.Sprintf(format, args...)))
}

func (l *warmLines) LookedUp(done, known int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally.looked, l.tally.known = done, known
}

func (l *warmLines) Fetching(size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally.grow(size)
}

func (l *warmLines) ImageBegun(name string, blobs int, size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.print("%s: fetching %s, %s", name, counted(blobs, "blob"), sizeText(size))
}

func (l *warmLines) ImageDone(r warm.Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.print("%s", warmDoneText(r))
}

// warmDoneText is the line for an image at its end.
func warmDoneText(r warm.Result) string {
	switch {
	case r.Err != nil:
		return fmt.Sprintf("%s: failed: %v", r.Image.Name, r.Err)
	case r.Fetched == 0:
		return fmt.Sprintf("%s: already here, %s", r.Image.Name, sizeText(r.Size))
	}
	return fmt.Sprintf("%s: done, %s in %s", r.Image.Name, sizeText(r.Fetched), tookText(r.Took))
}

func (l *warmLines) BlobAt(b warm.Blob, done int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally.at[b] = done
}

func (l *warmLines) BlobDone(b warm.Blob, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally.end(b, err)
}

func (l *warmLines) Retrying(what string, err error, in time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if line := l.retries.line(time.Now(), what, err, in); line != "" {
		l.print("%s", line)
	}
}

func (l *warmLines) end() {
	close(l.stop)
	l.over.Wait()
}
