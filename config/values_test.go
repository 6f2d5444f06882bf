package config

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"10G":      10_000_000_000,
		"10GB":     10_000_000_000,
		"10 gb":    10_000_000_000,
		"10GiB":    10 << 30,
		"10Gi":     10 << 30,
		" 1.5MiB ": 3 << 19,
		"1":        1,
		"1,000":    1000,
		"8388607T": 8388607 * 1_000_000_000_000,
	} {
		got, err := ParseSize(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "G", "10X", "-1G", "0", "0G", "0.1", "10E", "99999999999999999999", "1G 1M", "ten", "1e9", ".", "NaN", "٣G"} {
		got, err := ParseSize(text)
		require.Error(t, err, text)
		assert.Zero(t, got, text)
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0":     0,
		"0s":    0,
		"30m":   30 * time.Minute,
		"1.5h":  90 * time.Minute,
		"90s\n": 90 * time.Second,
		"1d12h": 36 * time.Hour,
		"2w":    14 * 24 * time.Hour,
	} {
		got, err := parseDuration(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "30", "-1s", "-1d", "m", "1.5d", "12h1d", "100000w", "1 hour", "always"} {
		_, err := parseDuration(text)
		require.Error(t, err, text)
	}
}

func TestParseWords(t *testing.T) {
	for _, text := range []string{"always", " Always "} {
		got, err := parseStaleness(text)
		require.NoError(t, err)
		assert.Equal(t, Always, got)
	}
	got, err := parseEvictionAge("OFF")
	require.NoError(t, err)
	assert.Zero(t, got)
}

func TestParseFreeSpace(t *testing.T) {
	for text, want := range map[string]freeSpace{
		"5%":    {percent: 5},
		"2.5 %": {percent: 2.5},
		"0%":    {},
		"0":     {},
		"off":   {},
		"20GiB": {bytes: 20 << 30},
	} {
		got, err := parseFreeSpace(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "%", "-1%", "100%", "Inf%", "NaN%", "5%%", "-5G", "five"} {
		got, err := parseFreeSpace(text)
		require.Error(t, err, text)
		assert.Zero(t, got, text)
	}
}

func FuzzValues(f *testing.F) {
	for _, seed := range []string{"10G", "1.5GiB", "5%", "30m", "7d", "always", "off", "-1", "1,0", "99999999999w"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if n, err := ParseSize(text); err == nil {
			require.Positive(t, n)
		}
		if n, err := parsePercent(text); err == nil {
			require.True(t, n >= 0 && n <= 100, n)
		}
		if d, err := parseStaleness(text); err == nil {
			require.True(t, d >= 0, d)
		}
		if d, err := parseInterval(text); err == nil {
			require.Positive(t, d)
		}
		if free, err := parseFreeSpace(text); err == nil {
			require.True(t, free.bytes == 0 || free.percent == 0, "not both")
			require.True(t, free.bytes >= 0 && free.percent >= 0 && free.percent < 100, free)
		}
		if addr, err := parseListenAddress(text); err == nil {
			require.Contains(t, addr, ":")
		}
	})
}

func TestSocketNamesFit(t *testing.T) {
	c := &Config{RunDir: "/" + strings.Repeat("r", maxSocketPath-len("/")-hashedSocketLength-1)}
	long := c.Socket("worker-" + strings.Repeat("x", 200))
	assert.Len(t, long, maxSocketPath)
	assert.NotEqual(t, long, c.Socket("worker-"+strings.Repeat("x", 201)))
	c.RunDir = "/run"
	assert.Equal(t, "/run/worker-quay.io.sock", c.Socket("worker-quay.io"))
}
