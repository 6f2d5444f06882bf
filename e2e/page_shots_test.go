package e2e

import (
	"bytes"
	"flag"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
	"registrycache/router/statuspage"
	"registrycache/router/statuspage/pagetest"
)

// screenshots is where those of the documents are written, if anywhere:
//
//	go test ./e2e -run TestPageOfABusyCache -screenshots=$PWD/docs
var screenshots = flag.String("screenshots", "", "write screenshots of the status page to this `directory`")

// faint lists the texts that are hard to tell from their ground.
const faint = `(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
  const channels = (css) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = css;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (css) => {
    const [r, g, b] = channels(css).map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (e) => {
    const css = getComputedStyle(e).backgroundColor;
    return channels(css)[3] || !e.parentElement ? css : ground(e.parentElement);
  };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    const words = [...e.childNodes].filter((n) => n.nodeType === Node.TEXT_NODE).map((n) => n.data.trim()).join('');
    if (!words || !e.checkVisibility() || ['title', 'desc', 'progress'].includes(e.localName)) continue;
    const style = getComputedStyle(e);
    const [a, b] = [luminance(e instanceof SVGElement ? style.fill : style.color), luminance(ground(e))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) found.push(words + ': ' + contrast.toFixed(2));
  }
  return found;
})()`

// TestPageOfABusyCache looks at everything that the page can show.
func TestPageOfABusyCache(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(harness.TempDir(t), "status.sock")
	now := time.Date(2026, time.November, 20, 14, 23, 7, 0, time.UTC)
	pagetest.Serve(t, socket, pagetest.Example(now))
	shown := statuspage.New(socket)
	server := httptest.NewServer(shown)
	t.Cleanup(func() { shown.Close(); server.Close() })

	const host = "cache.local:8443"
	b := browser(t, chromedp.Flag("host-resolver-rules", "MAP "+host+" "+server.Listener.Addr().String()))
	for name, l := range map[string]look{"light": desktop, "dark": night, "phone": phone} {
		p := open(b, t, "http://"+host+"/", l)
		_, err := chromedp.Run(p.ctx, chromedp.Poll[bool](`document.documentElement.classList.contains('live')`))
		require.NoError(t, err)
		assert.Equal(t, "degraded", eval[string](p, `document.querySelector('#state .badge').lastChild.data`))
		assert.Equal(t, l.scheme == "dark", eval[bool](p, `matchMedia('(prefers-color-scheme: dark)').matches`))
		assert.Empty(t, eval[[]string](p, faint), "text with a contrast below 4.5 to 1 (WCAG 2.2, 1.4.3)")
		p.faultless()
		if *screenshots != "" {
			shot, err := chromedp.Call(p.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{
				Format: page.CaptureScreenshotFormatPng, CaptureBeyondViewport: new(true),
			})
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(*screenshots, "status-"+name+".png"), smaller(t, shot.Data), 0o644))
		}
	}
}

// smaller makes a screenshot a third of its size by leaving it its most frequent
// colours that can be told apart: most others are the edges of letters.
func smaller(t *testing.T, shot []byte) []byte {
	t.Helper()
	full, err := png.Decode(bytes.NewReader(shot))
	require.NoError(t, err)
	bounds := full.Bounds()
	frequency := map[color.Color]int{}
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			frequency[full.At(x, y)]++
		}
	}
	var palette color.Palette
	for _, c := range slices.SortedFunc(maps.Keys(frequency), func(a, b color.Color) int { return frequency[b] - frequency[a] }) {
		if len(palette) < 256 && (len(palette) == 0 || distance(c, palette.Convert(c)) > 12) {
			palette = append(palette, c)
		}
	}
	few := image.NewPaletted(bounds, palette)
	draw.Draw(few, bounds, full, bounds.Min, draw.Src)
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	require.NoError(t, encoder.Encode(&out, few))
	return out.Bytes()
}

// distance is how far two colours are apart, at most 3 times 255.
func distance(a, b color.Color) (sum int) {
	ar, ag, ab, _ := a.RGBA()
	br, bg, bb, _ := b.RGBA()
	for _, d := range []int{int(ar) - int(br), int(ag) - int(bg), int(ab) - int(bb)} {
		sum += max(d, -d) >> 8
	}
	return sum
}
