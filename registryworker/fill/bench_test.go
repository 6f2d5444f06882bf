package fill

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"

	"registrycache/registryworker/upstream"
)

// httpOrigin is an upstream over real sockets, each connection of which sends no
// more than rate bytes a second; 0 is no limit. Every answer takes latency.
type httpOrigin struct {
	url     string
	client  *http.Client
	rate    int64
	latency time.Duration
}

func newHTTPOrigin(b *testing.B, content []byte, rate int64, latency time.Duration) *httpOrigin {
	o := &httpOrigin{rate: rate, latency: latency}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(latency)
		from, to := int64(0), int64(len(content))
		if v, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
			first, last, _ := strings.Cut(v, "-")
			from, _ = strconv.ParseInt(first, 10, 64)
			if n, err := strconv.ParseInt(last, 10, 64); err == nil {
				to = min(to, n+1)
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(content)))
			w.Header().Set("Content-Length", strconv.FormatInt(to-from, 10))
			w.WriteHeader(http.StatusPartialContent)
		} else {
			w.Header().Set("Content-Length", strconv.FormatInt(to, 10))
		}
		begun, pos := time.Now(), from
		for pos < to {
			n := min(to-pos, 128<<10)
			if _, err := w.Write(content[pos : pos+n]); err != nil {
				return
			}
			pos += n
			if rate > 0 {
				time.Sleep(time.Until(begun.Add(time.Duration(float64(pos-from) / float64(rate) * float64(time.Second)))))
			}
		}
	}))
	b.Cleanup(s.Close)
	o.url = s.URL
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 32,
		DialContext: (&net.Dialer{}).DialContext}
	b.Cleanup(transport.CloseIdleConnections)
	o.client = &http.Client{Transport: transport}
	return o
}

func (o *httpOrigin) OpenBlob(ctx context.Context, offset, end int64) (*upstream.Blob, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.url, nil)
	if err != nil {
		return nil, err
	}
	switch {
	case end >= 0:
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, end-1))
	case offset > 0:
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := o.client.Do(req)
	if err != nil {
		return nil, err
	}
	blob := &upstream.Blob{Body: resp.Body, Size: resp.ContentLength}
	if resp.StatusCode == http.StatusPartialContent {
		_, size, _ := strings.Cut(resp.Header.Get("Content-Range"), "/")
		blob.Size, _ = strconv.ParseInt(size, 10, 64)
		blob.Offset, blob.Ranged = offset, true
	}
	return blob, nil
}

func (o *httpOrigin) StatBlob(context.Context) (int64, error) { return 0, nil }

// cpu is the processor time of this process so far: origin, engine and readers.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func reportCPU(b *testing.B, bytes int64, used time.Duration) {
	b.ReportMetric(used.Seconds()/(float64(bytes)/(1<<30)), "cpu-s/GiB")
}

// BenchmarkDirect is what the others are measured against: the upstream's body
// read straight into nothing.
func BenchmarkDirect(b *testing.B) { benchmarkDirect(b, 256<<20, 0) }

func BenchmarkFill(b *testing.B) {
	for _, size := range []int{64 << 10, 8 << 20, 256 << 20} {
		for _, readers := range []int{0, 1, 50} {
			b.Run(fmt.Sprintf("%dKiB/%d readers", size>>10, readers), func(b *testing.B) {
				benchmarkFill(b, size, readers, Options{}, 0, 0)
			})
		}
	}
}

// BenchmarkCapped is a blob of 256 MiB from an upstream that gives a connection
// 20 MB/s, 50 ms away; straight from there it takes 13.4 s.
func BenchmarkCapped(b *testing.B) {
	for _, connections := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprintf("%d connections", connections), func(b *testing.B) {
			benchmarkFill(b, 256<<20, 1, Options{Connections: connections}, 20_000_000, 50*time.Millisecond)
		})
	}
}

// BenchmarkFar is the same from an upstream that is as far away and has no cap.
func BenchmarkFar(b *testing.B) {
	const latency = 50 * time.Millisecond
	b.Run("direct", func(b *testing.B) { benchmarkDirect(b, 256<<20, latency) })
	b.Run("fill", func(b *testing.B) { benchmarkFill(b, 256<<20, 1, Options{}, 0, latency) })
}

func benchmarkDirect(b *testing.B, size int, latency time.Duration) {
	content := randomBytes(size)
	o := newHTTPOrigin(b, content, 0, latency)
	b.SetBytes(int64(size))
	before := cpu()
	for b.Loop() {
		blob, err := o.OpenBlob(b.Context(), 0, -1)
		require.NoError(b, err)
		_, err = io.Copy(io.Discard, blob.Body)
		require.NoError(b, err)
		_ = blob.Body.Close()
	}
	reportCPU(b, int64(b.N)*int64(size), cpu()-before)
}

func benchmarkFill(b *testing.B, size, readers int, opt Options, rate int64, latency time.Duration) {
	content := randomBytes(size)
	d := digest.FromBytes(content)
	o := newHTTPOrigin(b, content, rate, latency)
	dir := b.TempDir()
	e := openBench(b, dir, opt)
	b.SetBytes(int64(size))
	before := cpu()
	for b.Loop() {
		r, err := e.Open(b.Context(), repo, d, o)
		require.NoError(b, err)
		var clients sync.WaitGroup
		for range readers {
			clients.Go(func() {
				r, err := e.Open(b.Context(), repo, d, o)
				if err == nil {
					_, err = io.Copy(io.Discard, r)
					_ = r.Close()
				}
				if err != nil {
					b.Error(err)
				}
			})
		}
		clients.Wait()
		_ = r.Close()
		b.StopTimer() // clients don't wait for the commit
		e.wait()
		require.NoError(b, os.Remove(e.store.BlobPath(d)))
		b.StartTimer()
	}
	reportCPU(b, int64(b.N)*int64(size), cpu()-before)
	require.NoError(b, e.Close(context.Background()))
}
