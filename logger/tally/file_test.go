package tally

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"registrycache/logger/accesslog"
)

func TestItGoesOnWhereItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTally(t)
		require.Zero(t, m.from)
		for i := range 100 {
			r := blob()
			r.Upstream = fmt.Sprintf("r%d.example", i%7)
			m.Count(r)
			m.Count(manifest("GET", fmt.Sprint(i%9), index))
			time.Sleep(3 * time.Hour)
		}
		place := accesslog.Position{Inode: 3, Offset: 7, Last: 2, Sum: 5}
		m.At(place)
		m.Close()
		before := m.Traffic()
		m.open()
		require.Equal(t, place, m.from)
		require.Empty(t, cmp.Diff(before, m.Traffic()))
		m.Count(blob())
		require.Equal(t, before.Hours[weekHours-1].Requests+1, m.Traffic().Hours[weekHours-1].Requests)
		require.Empty(t, m.report)
		entries, err := os.ReadDir(filepath.Dir(m.o.File))
		require.NoError(t, err)
		require.Len(t, entries, 1, "nothing is left behind")
	})
}

func TestItIsKeptNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTally(t)
		kept := func() int64 {
			again, _ := Open(m.o)
			return again.Traffic().Hours[weekHours-1].Requests
		}
		at := func(offset int64) { m.At(accesslog.Position{Inode: 1, Offset: offset}) }
		require.NoFileExists(t, m.o.File)
		at(1)
		require.FileExists(t, m.o.File, "names the place from the start")
		m.Count(blob())
		at(2)
		require.Zero(t, kept())
		time.Sleep(keepEvery - 1)
		at(2)
		require.Zero(t, kept())
		time.Sleep(time.Nanosecond)
		m.Count(blob())
		at(3)
		require.EqualValues(t, 2, kept())

		require.NoError(t, os.Remove(m.o.File))
		time.Sleep(time.Minute)
		at(4)
		require.NoFileExists(t, m.o.File, "there is nothing new")
		m.Close()
		require.FileExists(t, m.o.File, "but where the log was read to")
		_, from := Open(m.o)
		require.EqualValues(t, 4, from.Offset)
		require.NoError(t, os.Remove(m.o.File))
		m.Close()
		require.NoFileExists(t, m.o.File)
	})
}

// A restart after a kill gives the lines since the file was written once more,
// and what was counted of them is gone: each counts once.
func TestEachLineCountsOnceWheneverItIsKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	file, err := os.Create(path)
	require.NoError(t, err)
	defer file.Close()
	written := 0
	write := func(n int) {
		for range n {
			written++
			r := blob()
			r.Bytes = int64(written)
			line, err := json.Marshal(r)
			require.NoError(t, err)
			_, err = file.Write(append(line, '\n'))
			require.NoError(t, err)
		}
	}
	m := newTally(t)
	// life reads so many lines and is killed then, or ends.
	life := func(lines int, killed bool) {
		m.open()
		ctx, cancel := context.WithCancel(context.Background())
		var frozen *Tally
		f := accesslog.NewFollower(path, accesslog.FollowerOptions{
			Position: filepath.Join(t.TempDir(), "position"), // none
			From:     m.from,
			At: func(p accesslog.Position) {
				if frozen == nil {
					m.tried = time.Time{} // it is time to write the file
					m.At(p)
				}
			},
		})
		require.NoError(t, f.Run(ctx, func(line []byte) {
			if frozen != nil {
				return // there is no last look after a kill
			}
			r, err := accesslog.Parse(line)
			require.NoError(t, err)
			m.Count(r)
			if lines--; lines == 0 {
				if killed {
					frozen = m.Tally
				}
				cancel()
			}
		}))
		cancel()
		if !killed {
			m.Close()
		}
	}
	write(5000)
	life(1, true)
	life(3000, true) // more than one read has, so that some were kept
	require.Less(t, m.upstream(t, "quay.io").Total.Requests, int64(5000))
	life(1, true)
	life(2000, true)
	life(1, false)
	total := m.upstream(t, "quay.io").Total
	require.EqualValues(t, 5000, total.Requests)
	write(10)
	life(3, true)
	life(10, false)
	total = m.upstream(t, "quay.io").Total
	require.EqualValues(t, written, total.Requests)
	require.EqualValues(t, written*(written+1)/2, total.Sent)
	require.Empty(t, m.report)
}

func TestADamagedFileIsMovedAside(t *testing.T) {
	good := newTally(t)
	good.Count(blob())
	good.Count(manifest("GET", "1", index))
	good.Close()
	right, err := os.ReadFile(good.o.File)
	require.NoError(t, err)
	replaced := func(old, by string) string {
		require.Contains(t, string(right), old)
		return strings.Replace(string(right), old, by, 1)
	}
	for name, c := range map[string]struct{ content, says string }{
		"empty":          {"", "unexpected end of JSON input"},
		"cut":            {string(right[:len(right)/2]), "unexpected end of JSON input"},
		"zeros":          {string(make([]byte, 1000)), "invalid character"},
		"foreign":        {`{"hello":"world"}`, "it is no registry-cache traffic"},
		"another type":   {`{"kind":7}`, "cannot unmarshal"},
		"newer":          {replaced(`"version":1`, `"version":2`), "it is of version 2, and this one knows 1"},
		"below zero":     {replaced(`"requests":2`, `"requests":-2`), "-2 is no count"},
		"too many":       {replaced(`"requests":2`, `"requests":9223372036854775807`), "9223372036854775807 is no count"},
		"no upstream":    {replaced(`"path":"quay.io"`, `"path":""`), `upstream "": not one of ours`},
		"no image":       {replaced(`"reference":"1"`, `"reference":""`), "not one of ours"},
		"pulls below 0":  {replaced(`"pulls":[0`, `"pulls":[-1`), "cannot unmarshal"},
		"first too late": {replaced(`"first":`, `"first":1`), "out of order"},
		"hours mixed":    {replaced(`"hours":[[`, `"hours":[[7,0,0,0,0,0],[5,0,0,0,0,0],[`), "out of order"},
		"too large":      {strings.Repeat(" ", maxFile+1), "it is larger than 16 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newTally(t)
			require.NoError(t, os.MkdirAll(filepath.Dir(m.o.File), 0o755))
			require.NoError(t, os.WriteFile(m.o.File+".damaged", []byte("an earlier one"), 0o600))
			require.NoError(t, os.WriteFile(m.o.File, []byte(c.content), 0o600))
			m.open()
			require.Zero(t, m.from)
			require.Empty(t, m.Traffic().Upstreams)
			require.Equal(t, 1, bytes.Count(m.report.Bytes(), []byte{'\n'}), m.report)
			require.Contains(t, m.report.String(), `"level":"warn"`)
			require.Contains(t, m.report.String(), "counted anew")
			var line struct {
				Error, File string
				MovedTo     string `json:"moved_to"`
			}
			require.NoError(t, json.Unmarshal(m.report.Bytes(), &line))
			require.Contains(t, line.Error, c.says)
			require.Equal(t, m.o.File, line.File)
			aside, err := os.ReadFile(line.MovedTo)
			require.NoError(t, err)
			require.Equal(t, c.content, string(aside))

			m.Count(blob())
			m.Close()
			m.open()
			require.EqualValues(t, 1, m.upstream(t, "quay.io").Total.Requests)
			require.Equal(t, 1, bytes.Count(m.report.Bytes(), []byte{'\n'}), m.report)
		})
	}
}

// Where nothing can be written it is counted all the same, and said once. A
// file stands where the directory should be, as root may write anywhere.
func TestAFileThatCanNotBeWrittenIsReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTally(t)
		dir := filepath.Dir(m.o.File)
		require.NoError(t, os.WriteFile(dir, nil, 0o600))
		for range 5 {
			m.Count(blob())
			m.At(accesslog.Position{Inode: 1, Offset: 1})
			time.Sleep(keepEvery)
		}
		require.EqualValues(t, 5, m.upstream(t, "quay.io").Total.Requests)
		require.Equal(t, 1, bytes.Count(m.report.Bytes(), []byte{'\n'}), m.report)
		require.Contains(t, m.report.String(), "not a directory")

		require.NoError(t, os.Remove(dir))
		m.At(accesslog.Position{Inode: 1, Offset: 1})
		m.open()
		require.EqualValues(t, 5, m.upstream(t, "quay.io").Total.Requests, "it is tried again")
	})
}

func TestAFileThatCanNotBeMovedIsReportedOnce(t *testing.T) {
	m := newTally(t)
	require.NoError(t, os.MkdirAll(filepath.Join(m.o.File+".damaged", "full"), 0o755))
	require.NoError(t, os.WriteFile(m.o.File, nil, 0o600))
	m.open()
	require.Equal(t, 1, bytes.Count(m.report.Bytes(), []byte{'\n'}), m.report)
	require.Contains(t, m.report.String(), "not_moved")
	m.Count(blob())
	m.Close()
	m.open()
	require.EqualValues(t, 1, m.upstream(t, "quay.io").Total.Requests, "it is replaced")
}

// What a kill leaves of a file that was being written does not matter.
func TestAFileThatWasNotFinished(t *testing.T) {
	m := newTally(t)
	m.Count(blob())
	m.Close()
	require.NoError(t, os.WriteFile(m.o.File+".tmp", []byte("half of i"), 0o600))
	m.open()
	m.Count(blob())
	m.Close()
	m.open()
	require.EqualValues(t, 2, m.upstream(t, "quay.io").Total.Requests)
	require.NoFileExists(t, m.o.File+".tmp")
	require.Empty(t, m.report)
}

func TestTheFileIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTally(t)
		long := strings.Repeat("x", maxName)
		for i := range maxImages + 1 {
			r := manifest("GET", fmt.Sprint(i), index)
			r.Repository = long[:maxName-len(r.Reference)]
			m.Count(r)
		}
		for hour := range weekHours + 1 {
			for i := range maxUpstreams {
				r := blob()
				r.Upstream = fmt.Sprint(long[:maxPath-3], i)
				r.Bytes = maxCount >> 10
				if i%8 == 0 || hour == weekHours {
					m.Count(r)
				}
			}
			time.Sleep(time.Hour)
		}
		m.Close()
		info, err := os.Stat(m.o.File)
		require.NoError(t, err)
		require.Less(t, info.Size(), int64(maxFile))
		m.open()
		require.Empty(t, m.report)
		require.Len(t, m.upstreams, maxUpstreams)
		require.NotEmpty(t, m.Traffic().Newest)
	})
}

func FuzzDecode(f *testing.F) {
	m := newTally(f)
	m.Count(blob())
	m.Count(manifest("GET", "1", index))
	m.Count(manifest("GET", other, other))
	m.Close()
	raw, err := os.ReadFile(m.o.File)
	require.NoError(f, err)
	f.Add(raw)
	f.Add(raw[:len(raw)/2])
	f.Add([]byte(`{"kind":"registry-cache traffic","version":1}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		first := empty(Options{})
		if first.decode(raw) != nil {
			require.Empty(t, first.upstreams)
			require.Empty(t, first.images)
			return
		}
		traffic := first.Traffic()
		require.Len(t, traffic.Hours, weekHours)
		written, err := first.encode()
		require.NoError(t, err)
		again := empty(Options{})
		require.NoError(t, again.decode(written), "%s", written)
		require.Empty(t, cmp.Diff(traffic.Upstreams, again.Traffic().Upstreams))
		require.Equal(t, first.place, again.place)
		require.Equal(t, len(first.images), len(again.images))
		for n, i := range first.images {
			require.Equal(t, *i, *again.images[n])
		}
		again.Count(blob())
		again.Count(manifest("GET", "1", index))
	})
}

// Errors of the file system other than that it is missing are reported too.
func TestAFileThatIsNone(t *testing.T) {
	m := newTally(t)
	require.NoError(t, os.MkdirAll(m.o.File, 0o755))
	m.open()
	require.Contains(t, m.report.String(), "is a directory")
	_, err := os.Stat(m.o.File)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func BenchmarkKeep(b *testing.B) {
	m := newTally(b)
	for i := range maxImages {
		m.Count(manifest("GET", fmt.Sprint("tag", i), index))
	}
	for b.Loop() {
		m.keep()
	}
	info, err := os.Stat(m.o.File)
	require.NoError(b, err)
	b.ReportMetric(float64(info.Size()), "bytes")
}
