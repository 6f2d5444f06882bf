package upstream

import (
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseContentRange(t *testing.T) {
	for v, want := range map[string]contentRange{
		"bytes 0-0/1":                   {0, 0, 1},
		"bytes 5-9/10":                  {5, 9, 10},
		"bytes 5-9/*":                   {5, 9, -1},
		" Bytes  5-9/10":                {5, 9, 10},
		"bytes 0-4294967296/4294967297": {0, 1 << 32, 1<<32 + 1},
	} {
		got, err := parseContentRange(v)
		require.NoError(t, err, v)
		assert.Equal(t, want, got, v)
	}
	for _, v := range []string{
		"", "bytes", "bytes 1-2", "bytes */10", "bytes 2-1/10", "bytes 0-10/10", "bytes -1-2/10", "bytes 1-/10", "items 0-1/2",
		"bytes +1-2/10", "bytes 0-1/-2", "bytes 0-1/x", "bytes=0-1/2", "bytes 0-9223372036854775807/*", "bytes 0-99999999999999999999/*", "bytes 0x1-2/10",
	} {
		_, err := parseContentRange(v)
		assert.Error(t, err, v)
	}
}

func FuzzParseContentRange(f *testing.F) {
	f.Add("bytes 0-1/2")
	f.Add("bytes 5-9/*")
	f.Fuzz(func(t *testing.T, v string) {
		r, err := parseContentRange(v)
		if err != nil {
			return
		}
		if r.first < 0 || r.last < r.first || r.last-r.first+1 <= 0 || r.size != -1 && r.size <= r.last {
			t.Errorf("%q: %+v", v, r)
		}
	})
}

func TestParseRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 300e6, time.UTC)
	for v, want := range map[string]time.Duration{
		"":                        0,
		"0":                       0,
		"120":                     2 * time.Minute,
		" 3 ":                     3 * time.Second,
		"-5":                      0,
		"1.5":                     0,
		"soon":                    0,
		"9999999999999":           maxRetryAfter,
		"99999999999999999999999": 0,
		now.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second,
		now.Add(-time.Hour).Format(http.TimeFormat):       0,
		"Sun, 01 Mar 2626 12:00:00 GMT":                   maxRetryAfter,
	} {
		assert.Equal(t, want, parseRetryAfter(v, now), v)
	}
}

func FuzzParseRetryAfter(f *testing.F) {
	f.Add("120")
	f.Add("Sun, 06 Nov 1994 08:49:37 GMT")
	f.Fuzz(func(t *testing.T, v string) {
		if d := parseRetryAfter(v, time.Unix(0, 0)); d < 0 || d > maxRetryAfter || d%time.Second != 0 {
			t.Errorf("%q: %s", v, d)
		}
	})
}

func TestParseQuota(t *testing.T) {
	for v, want := range map[string]quota{
		"100;w=21600":                  {100, 6 * time.Hour},
		"76":                           {76, 0},
		"0 ;w=1":                       {0, time.Second},
		" 9 ; policy=pull; w=60 ":      {9, time.Minute},
		"9;w":                          {9, 0},
		"9;w=":                         {9, 0},
		"9;w=-1":                       {9, 0},
		"9;w=soon":                     {9, 0},
		"9;w=9223372036854775807":      {9, 0},
		"9223372036854775807;w=86400;": {math.MaxInt64, 24 * time.Hour},
	} {
		got, ok := parseQuota(v)
		assert.True(t, ok, v)
		assert.Equal(t, want, got, v)
	}
	for _, v := range []string{"", ";w=21600", "-1;w=1", "many", "1e3"} {
		_, ok := parseQuota(v)
		assert.False(t, ok, v)
	}
}

func FuzzParseQuota(f *testing.F) {
	f.Add("100;w=21600")
	f.Add("1;w=1;w=99999999999999999999")
	f.Fuzz(func(t *testing.T, v string) {
		if q, ok := parseQuota(v); ok && (q.pulls < 0 || q.window < 0 || q.window > maxWindow) {
			t.Errorf("%q: %+v", v, q)
		}
	})
}

func TestNextLink(t *testing.T) {
	for name, test := range map[string]struct {
		lines []string
		want  string
	}{
		"none":            {nil, ""},
		"distribution":    {[]string{`</v2/a/tags/list?last=x&n=2>; rel="next"`}, "/v2/a/tags/list?last=x&n=2"},
		"unquoted":        {[]string{`</a>; rel=next`}, "/a"},
		"others first":    {[]string{`</p>; rel="prev", </n>; title="a, b; c"; rel="next last"`}, "/n"},
		"several lines":   {[]string{`</p>; rel=prev`, `</n>;REL=NEXT`}, "/n"},
		"not next":        {[]string{`</p>; rel="nextish"`}, ""},
		"no rel":          {[]string{`</p>`, `</p>; rel`, `</p>;`}, ""},
		"nonsense":        {[]string{`</p`, `p; rel=next`, `<`, `;;;`, `</p>;@`}, ""},
		"comma in target": {[]string{`</a?x=1,2>; rel="next"`}, "/a?x=1,2"},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.want, nextLink(test.lines)) })
	}
}

func FuzzNextLink(f *testing.F) {
	f.Add(`</v2/a/tags/list?last=x&n=2>; rel="next", <x>; rel=prev`)
	f.Add(`<a>;;;=;"`)
	f.Fuzz(func(_ *testing.T, v string) { nextLink([]string{v, v}) })
}
