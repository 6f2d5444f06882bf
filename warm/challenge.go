package warm

import "strings"

// The schemes of authentication that registries use.
const (
	basicScheme  = "basic"
	bearerScheme = "bearer"
)

// pickChallenge returns the challenge to answer, of RFC 9110 section 11.6.1:
// a token before a password. The cache gives one a line, in the plain form
// that distribution writes: Scheme name="value",name="value".
func pickChallenge(lines []string) (scheme string, params map[string]string) {
	for _, line := range lines {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch name = strings.ToLower(name); name {
		case bearerScheme:
			return name, challengeParams(rest)
		case basicScheme:
			scheme = name
		}
	}
	return scheme, nil
}

func challengeParams(text string) map[string]string {
	params := map[string]string{}
	for {
		name, rest, ok := strings.Cut(text, "=")
		if !ok {
			return params
		}
		name = strings.ToLower(strings.Trim(name, ", \t"))
		params[name], text = challengeValue(strings.TrimLeft(rest, " \t"))
	}
}

// challengeValue reads a token or a quoted string, and returns what follows.
func challengeValue(text string) (value, rest string) {
	if !strings.HasPrefix(text, `"`) {
		value, rest, _ = strings.Cut(text, ",")
		return strings.TrimSpace(value), rest
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return b.String(), text[i+1:]
		case c == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), ""
}
