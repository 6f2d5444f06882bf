package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestValidHostPort(t *testing.T) {
	for _, s := range []string{"a", "auth.example.com", "auth.lab:8443", "10.0.0.1", "10.0.0.1:80", "[::1]", "[::1]:8443", "my_host:1"} {
		assert.True(t, validHostPort(s), s)
	}
	for _, s := range []string{
		"", ":80", "a:", "a:0", "a:b", "a:65536", "::1", "[::1", "[::1]:", "[10.0.0.1]", "[a.lab]:80", "a b", "-a", "a-", "a..b", "a/b", "u@a",
		strings.Repeat("a.", 127) + "a",
	} {
		assert.False(t, validHostPort(s), s)
	}
}

func TestSameListenAddress(t *testing.T) {
	for pair, want := range map[[2]string]bool{
		{":80", ":80"}:                   true,
		{":80", "127.0.0.1:80"}:          true,
		{"[::]:80", "127.0.0.1:80"}:      true,
		{"127.0.0.1:80", "127.0.0.1:80"}: true,
		{"127.0.0.1:80", "127.0.0.2:80"}: false,
		{":80", ":81"}:                   false,
		{":0", ":0"}:                     false,
		{"", ""}:                         false,
	} {
		assert.Equal(t, want, sameListenAddress(pair[0], pair[1]), "%v", pair)
	}
}

// What an operator wrote must not break the list of mistakes, nor drive the
// terminal it is shown on.
func TestMistakesStayOnTheirLine(t *testing.T) {
	s := newSite(t)
	s.env["CONFIG_FILE"] = "/no\nwhere\x1b[31m"
	s.requireMistakes("CONFIG_FILE: /no?where?[31m does not exist")
}
