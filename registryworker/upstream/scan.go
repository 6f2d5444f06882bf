package upstream

import "strings"

// scanner reads the pieces that structured header fields are made of (RFC 9110
// section 5.6). It never fails: what is missing is empty.
type scanner struct{ rest string }

func (s *scanner) skip(set string) { s.rest = strings.TrimLeft(s.rest, set) }

func (s *scanner) take(n int) string {
	t := s.rest[:n]
	s.rest = s.rest[n:]
	return t
}

func (s *scanner) token() string {
	end := 0
	for end < len(s.rest) && isTokenByte(s.rest[end]) {
		end++
	}
	return s.take(end)
}

// value reads a quoted string, or else everything before the first of the
// bytes in stop.
func (s *scanner) value(stop string) string {
	if strings.HasPrefix(s.rest, `"`) {
		return s.quoted()
	}
	end := strings.IndexAny(s.rest, stop)
	if end < 0 {
		end = len(s.rest)
	}
	return s.take(end)
}

// quoted reads a quoted string; one that never ends goes to the end of the line.
func (s *scanner) quoted() string {
	var b strings.Builder
	for i := 1; i < len(s.rest); i++ {
		switch s.rest[i] {
		case '"':
			s.rest = s.rest[i+1:]
			return b.String()
		case '\\':
			if i++; i == len(s.rest) {
				continue
			}
		}
		b.WriteByte(s.rest[i])
	}
	s.rest = ""
	return b.String()
}

func isTokenByte(c byte) bool {
	switch {
	case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		return true
	}
	return strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
