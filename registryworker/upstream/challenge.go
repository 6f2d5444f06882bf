package upstream

import "strings"

// challenge is one authentication challenge of RFC 9110 section 11.6.1.
// Scheme and parameter names are in lower case.
type challenge struct {
	scheme string
	params map[string]string
}

// maxChallenges bounds what one answer may ask for.
const maxChallenges = 16

// parseChallenges reads the values of WWW-Authenticate: any number of
// challenges in any number of header lines. It is lenient where registries are
// known to be sloppy (values that are no tokens but have no quotes, a missing
// comma) and drops the rest of a line that it can't make sense of.
func parseChallenges(lines []string) []challenge {
	var found []challenge
	for _, line := range lines {
		p := challengeParser{scanner{line}}
		for len(found) < maxChallenges {
			c, ok := p.challenge()
			if !ok {
				break
			}
			found = append(found, c)
		}
	}
	return found
}

type challengeParser struct{ scanner }

func (p *challengeParser) challenge() (challenge, bool) {
	p.skip(", \t")
	scheme := p.token()
	if scheme == "" {
		return challenge{}, false
	}
	c := challenge{scheme: strings.ToLower(scheme), params: map[string]string{}}
	if p.token68() {
		return c, true
	}
	for {
		before := p.rest
		p.skip(", \t")
		name := p.token()
		p.skip(" \t")
		if name == "" || !strings.HasPrefix(p.rest, "=") {
			p.rest = before // the next challenge, or nonsense
			return c, true
		}
		p.rest = p.rest[1:]
		p.skip(" \t")
		value := p.value(", \t")
		if name = strings.ToLower(name); c.params[name] == "" {
			c.params[name] = value
		}
	}
}

// token68 skips the other form a challenge may have, which says nothing to us:
// one word after the scheme, such as Negotiate's.
func (p *challengeParser) token68() bool {
	word := strings.TrimLeft(p.rest, " \t")
	if len(word) == len(p.rest) {
		return false
	}
	end := strings.IndexAny(word, ", \t")
	if end < 0 {
		end = len(word)
	}
	text := strings.TrimRight(word[:end], "=")
	after := strings.TrimLeft(word[end:], " \t")
	if text == "" || strings.ContainsAny(text, `="`) || strings.HasPrefix(after, "=") {
		return false
	}
	if padded := len(text) < end; !padded && after != "" && after[0] != ',' {
		return false
	}
	p.rest = word[end:]
	return true
}
