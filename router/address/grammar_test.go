package address

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The grammar as the specification has it.
var (
	namePattern = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	hexPattern  = regexp.MustCompile(`^[0-9a-f]*$`)
)

func checkGrammar(t *testing.T, s string) {
	t.Helper()
	require.Equal(t, namePattern.MatchString(s), isName(s), "name %q", s)
	require.Equal(t, tagPattern.MatchString(s), isTag(s), "tag %q", s)
	require.Equal(t, hexPattern.MatchString(s), isHex(s), "hex %q", s)
}

// Every text of up to five of the characters that matter.
func TestGrammarIsThatOfTheSpecification(t *testing.T) {
	const letters = "a0f_-./AG:"
	var try func(s string, left int)
	try = func(s string, left int) {
		checkGrammar(t, s)
		if left > 0 {
			for _, c := range letters {
				try(s+string(c), left-1)
			}
		}
	}
	try("", 5)
	for _, s := range []string{strings.Repeat("a", 127), strings.Repeat("a", 128), strings.Repeat("a", 129), "a\n", "ä", "a\x00"} {
		checkGrammar(t, s)
	}
}

func FuzzGrammar(f *testing.F) {
	for _, seed := range []string{"a/b-c__d.e", "V1.0_x-y", "a--b", "a___b", "a_-b", "_a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) { checkGrammar(t, s) })
}
