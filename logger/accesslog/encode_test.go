package accesslog

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func sample() Record {
	return Record{
		Time:       time.Date(2026, 3, 4, 5, 6, 7, 123456789, time.FixedZone("", 3600)),
		RemoteAddr: "10.0.0.1:4711", User: "ann", Method: "GET",
		Path:     "/v2/quay.io/podman/hello/manifests/latest",
		Upstream: "quay.io", Repository: "quay.io/podman/hello", Reference: "latest", Kind: "manifests",
		Digest: "sha256:" + strings.Repeat("ab", 32),
		Status: 200, Bytes: 1234, Duration: 0.000123456, Cache: Revalidated, UserAgent: "containers/5.36",
	}
}

func TestLinesReadAsTheLinesOfEncodingJSON(t *testing.T) {
	for name, change := range map[string]func(*Record){
		"all fields":     func(*Record) {},
		"none":           func(r *Record) { *r = Record{Time: r.Time} },
		"utc":            func(r *Record) { r.Time = r.Time.UTC() },
		"whole second":   func(r *Record) { r.Time = r.Time.Truncate(time.Second) },
		"quotes":         func(r *Record) { r.UserAgent = `a "b" \c\ ` + "\n\r\t\x00\x1f\x7f" },
		"html":           func(r *Record) { r.Path = "/v2/?a=<b>&c" },
		"unicode":        func(r *Record) { r.User = "žlutý kůň \u2028\u2029 🐎" },
		"not utf-8":      func(r *Record) { r.User = "a\xffb\xc3" },
		"tiny duration":  func(r *Record) { r.Duration = 1e-9 },
		"large duration": func(r *Record) { r.Duration = 1e22 },
		"negative":       func(r *Record) { r.Bytes, r.Status, r.Duration = -1, -2, -3 },
	} {
		t.Run(name, func(t *testing.T) {
			r := sample()
			change(&r)
			requireSameJSON(t, r)
		})
	}
}

func requireSameJSON(t *testing.T, r Record) {
	t.Helper()
	want, err := json.Marshal(r)
	require.NoError(t, err)
	line := appendLine(nil, &r)
	require.True(t, json.Valid(line), "%s", line)
	require.Equal(t, 1, strings.Count(string(line), "\n"), "one line a record")
	require.JSONEq(t, string(want), string(line))
}

func TestADurationThatIsNoNumberIsZero(t *testing.T) {
	for _, d := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		r := sample()
		r.Duration = d
		got, err := Parse(appendLine(nil, &r))
		require.NoError(t, err)
		assert.Zero(t, got.Duration)
	}
}

func TestLongStringsAreCutBetweenCharacters(t *testing.T) {
	r := sample()
	r.Path = strings.Repeat("x", maxString-1) + "ž" + strings.Repeat("y", 1<<20)
	got, err := Parse(appendLine(nil, &r))
	require.NoError(t, err)
	assert.Equal(t, strings.Repeat("x", maxString-1), got.Path)

	everything := strings.Repeat("\x01", 1<<20)
	r = Record{
		Time: r.Time, RemoteAddr: everything, User: everything, Method: everything, Path: everything,
		Upstream: everything, Repository: everything, Reference: everything, Kind: everything,
		Digest: everything, Cache: CacheStatus(everything), UserAgent: everything,
	}
	assert.Less(t, len(appendLine(nil, &r)), maxLine, "the follower takes any line the writer makes")
}

func FuzzEncode(f *testing.F) {
	f.Add("/v2/", "curl \"7\"", "ann\xff", int64(5), 0.25)
	f.Fuzz(func(t *testing.T, path, agent, user string, n int64, d float64) {
		if len(path) > maxString || len(agent) > maxString || len(user) > maxString || math.IsNaN(d) || math.IsInf(d, 0) {
			t.Skip()
		}
		r := sample()
		r.Path, r.UserAgent, r.User, r.Bytes, r.Duration = path, agent, user, n, d
		requireSameJSON(t, r)
	})
}

func FuzzParse(f *testing.F) {
	r := sample()
	f.Add(appendLine(nil, &r))
	f.Add([]byte("{}"))
	f.Add([]byte(`{"time":"2026-03-04T05:06:07Z","method":"GET","status":200,"later":[1]}`))
	f.Add([]byte(`null`))
	for _, n := range []string{"200", "-1", "0", "01", "1.", "1.5", ".5", "1e3", "99999999999999999999", ""} {
		f.Add([]byte(`{"time":"2026-03-04T05:06:07Z","method":"GET","status":` + n + `,"bytes":` + n + `,"duration":` + n + `}`))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if r, ok := parsePlain(line); ok {
			var want Record
			require.NoError(t, json.Unmarshal(line, &want), "%s", line)
			require.Equal(t, want, r)
		}
		r, err := Parse(line)
		if err != nil {
			assert.Zero(t, r)
			return
		}
		again, err := Parse(appendLine(nil, &r))
		require.NoError(t, err, "what was read can be written")
		assert.Equal(t, r.Status, again.Status)
	})
}

func TestWhatTheWriterMakesIsPlain(t *testing.T) {
	r := sample()
	line := appendLine(nil, &r)
	got, ok := parsePlain(line[:len(line)-1])
	require.True(t, ok, "%s", line)
	require.True(t, got.Time.Equal(r.Time))
	got.Time = r.Time
	require.Equal(t, r, got)
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for line, want := range map[string]string{
		``:                               "unexpected end",
		`{"time":"2026-03-04T05:06:07Z"`: "unexpected end",
		`{}`:                             "missing",
		`null`:                           "missing",
		`[]`:                             "cannot unmarshal array",
		`{"status":"200"}`:               "cannot unmarshal string",
		`{"time":"yesterday"}`:           "yesterday",
	} {
		_, err := Parse([]byte(line))
		require.ErrorContains(t, err, "not an access record", line)
		require.ErrorContains(t, err, want, line)
	}
}

func BenchmarkAppendLine(b *testing.B) {
	r := sample()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = appendLine(buf[:0], &r)
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkParse(b *testing.B) {
	r := sample()
	line := appendLine(nil, &r)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(line); err != nil {
			b.Fatal(err)
		}
	}
}
