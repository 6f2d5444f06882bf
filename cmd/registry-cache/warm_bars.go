package main

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"registrycache/warm"
)

// warmBars draws on a terminal: a bar for each blob that is being fetched, and
// one below for all of it with rate and time left.
type warmBars struct {
	drawn *mpb.Progress

	mu      sync.Mutex
	looking *mpb.Bar
	total   *mpb.Bar
	bars    map[warm.Blob]*mpb.Bar
	tally   warmTally
	retries warmRetries
	// growing says that the total is not known. It is for what is drawn while
	// the lock is held.
	growing atomic.Bool
}

// Below the bars of the blobs is that of the lookups, and last that for all.
const (
	lookingLast = 1<<30 + iota
	totalLast
)

func newWarmBars(out io.Writer) *warmBars {
	return &warmBars{
		drawn: mpb.New(mpb.WithOutput(out), mpb.WithWidth(30), mpb.WithRefreshRate(150*time.Millisecond)),
		bars:  map[warm.Blob]*mpb.Bar{},
	}
}

func (b *warmBars) say(line string) {
	_, _ = b.drawn.Write([]byte(printable(line) + "\n"))
}

func (b *warmBars) LookedUp(done, known int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tally.looked, b.tally.known = done, known
	b.growing.Store(b.tally.looking())
	if !b.tally.looking() {
		b.drop(&b.looking)
		return
	}
	if b.looking == nil {
		b.looking = b.drawn.AddBar(0, mpb.BarPriority(lookingLast), mpb.PrependDecorators(decor.Name("looking up")),
			mpb.AppendDecorators(decor.CountersNoUnit(" %d of %d")))
	}
	b.looking.SetTotal(int64(known), false)
	b.looking.SetCurrent(int64(done))
}

func (b *warmBars) Fetching(size int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tally.grow(size)
	if b.total == nil && size > 0 {
		b.total = b.drawn.AddBar(0, // it ends when we say so: what it is out of grows
			mpb.BarPriority(totalLast),
			mpb.PrependDecorators(decor.Name("total", decor.WCSyncSpaceR)),
			mpb.AppendDecorators(
				b.unlessGrowing(decor.Percentage(decor.WC{W: 5})),
				decor.Any(b.amounts),
				decor.AverageSpeed(decor.SizeB1024(0), "  % .1f"),
				b.unlessGrowing(decor.Name("  ")), b.unlessGrowing(decor.AverageETA(decor.ET_STYLE_GO)), b.unlessGrowing(decor.Name(" left")),
			))
	}
	b.draw()
}

// amounts is how much there is of all that is known.
func (b *warmBars) amounts(s decor.Statistics) string {
	of := "of"
	if b.growing.Load() {
		of = "of at least"
	}
	return fmt.Sprintf("  % .1f %s % .1f", decor.SizeB1024(s.Current), of, decor.SizeB1024(s.Total))
}

// unlessGrowing leaves out what makes no sense while the total is not known.
func (b *warmBars) unlessGrowing(d decor.Decorator) decor.Decorator {
	return decor.Any(func(s decor.Statistics) string {
		if b.growing.Load() {
			return ""
		}
		text, _ := d.Decor(s)
		return text
	})
}

// drop takes a bar off the screen.
func (b *warmBars) drop(bar **mpb.Bar) {
	if *bar != nil {
		(*bar).Abort(true)
		*bar = nil
	}
}

func (*warmBars) ImageBegun(string, int, int64) {}

func (b *warmBars) ImageDone(r warm.Result) { b.say(warmDoneText(r)) }

// maxBarName is how much of a name stands before a bar.
const maxBarName = 40

func (b *warmBars) BlobBegun(blob warm.Blob) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if blob.Size == 0 {
		return // nothing to be drawn
	}
	name := blob.Repository
	if len(name) > maxBarName {
		name = "…" + name[len(name)-maxBarName+1:]
	}
	b.bars[blob] = b.drawn.AddBar(blob.Size, mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(fmt.Sprintf("%s %.6s", printable(name), blob.Digest.Encoded()), decor.WCSyncSpaceR)),
		mpb.AppendDecorators(decor.Percentage(decor.WC{W: 5}), decor.CountersKibiByte("  % .1f of % .1f")))
}

func (b *warmBars) BlobAt(blob warm.Blob, done int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tally.at[blob] = done
	// A bar that is full is gone, and the cache has yet to say that it has it.
	if bar := b.bars[blob]; bar != nil && done < blob.Size {
		bar.SetCurrent(done)
	}
	b.draw()
}

func (b *warmBars) BlobDone(blob warm.Blob, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tally.end(blob, err)
	if bar := b.bars[blob]; bar != nil {
		bar.Abort(true)
		delete(b.bars, blob)
	}
	b.draw()
}

// draw brings the bar for all up to date.
func (b *warmBars) draw() {
	if b.total != nil {
		b.total.SetTotal(b.tally.total(), false)
		b.total.SetCurrent(b.tally.done())
	}
}

func (b *warmBars) Retrying(what string, err error, in time.Duration) {
	b.mu.Lock()
	line := b.retries.line(time.Now(), what, err, in)
	b.mu.Unlock()
	if line != "" {
		b.say(line)
	}
}

// end leaves the bar for all as it is.
func (b *warmBars) end() {
	b.mu.Lock()
	b.drop(&b.looking)
	for blob, bar := range b.bars {
		bar.Abort(true)
		delete(b.bars, blob)
	}
	if b.total != nil && !b.total.Completed() {
		b.total.Abort(false)
	}
	b.mu.Unlock()
	b.drawn.Wait()
}
