package router

import (
	"bytes"
	"net/http"
	"strings"
)

// head is a request of the plainest kind: GET or HEAD, HTTP/1.1, no body, no
// range, no condition.
type head struct {
	method string
	// path and query are as in the request, with nothing that is escaped.
	path, query   string
	authorization string
	userAgent     string
}

// parseHead reads exactly one request head of that kind. Its grammar is a small
// part of what net/http takes (RFC 9112), and what it takes means the same to
// net/http. All else is no error: it is for net/http to decide about.
func parseHead(b []byte) (hd head, ok bool) {
	line, rest, ok := cutLine(string(b))
	if !ok {
		return hd, false
	}
	var target, proto string
	if hd.method, target, ok = strings.Cut(line, " "); !ok || hd.method != http.MethodGet && hd.method != http.MethodHead {
		return hd, false
	}
	if target, proto, ok = strings.Cut(target, " "); !ok || proto != "HTTP/1.1" || !strings.HasPrefix(target, "/v2/") {
		return hd, false
	}
	hd.path, hd.query, _ = strings.Cut(target, "?")
	if !only(hd.path, pathByte) || !only(hd.query, queryByte) {
		return hd, false
	}
	hosts := 0
	for {
		if line, rest, ok = cutLine(rest); !ok {
			return hd, false
		}
		if line == "" {
			return hd, rest == "" && hosts == 1
		}
		colon := strings.IndexByte(line, ':')
		if colon < 0 {
			return hd, false
		}
		name, value := line[:colon], trim(line[colon+1:])
		if !only(value, valueByte) {
			return hd, false
		}
		switch meaning(name) {
		case meansHost:
			hosts++
			if value == "" || !only(value, hostByte) {
				return hd, false
			}
		case meansAuthorization:
			if hd.authorization != "" {
				return hd, false
			}
			hd.authorization = value
		case meansUserAgent:
			if hd.userAgent != "" {
				return hd, false
			}
			hd.userAgent = value
		case meansConnection:
			if !strings.EqualFold(value, "keep-alive") {
				return hd, false
			}
		case meansSomething:
			return hd, false
		}
	}
}

// cutLine cuts where CRLF ends a line. A CR elsewhere stays, and nothing takes it.
func cutLine(s string) (line, rest string, ok bool) {
	i := strings.IndexByte(s, '\n')
	if i < 1 || s[i-1] != '\r' {
		return "", "", false
	}
	return s[:i-1], s[i+1:], true
}

// trim removes the optional white space around a value.
func trim(s string) string {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// Classes of bytes, as bits.
const (
	pathByte  = 1 << iota // those that stand for themselves in a path, less the rare ones
	queryByte             // and in a query
	hostByte
	nameByte  // and in the name of a field
	valueByte // visible ones, blanks and tabs
)

var classes = func() (table [256]uint8) {
	add := func(class uint8, bytes string) {
		for _, b := range []byte(bytes) {
			table[b] |= class
		}
	}
	const alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	add(pathByte, alphanumeric+"/._:-")
	add(queryByte, alphanumeric+"/._:-=&")
	add(hostByte, alphanumeric+"._:-[]")
	add(nameByte, alphanumeric+"-_")
	for b := byte(' '); b <= '~'; b++ {
		table[b] |= valueByte
	}
	table['\t'] |= valueByte
	return table
}()

func only(s string, class uint8) bool {
	for i := range len(s) {
		if classes[s[i]]&class == 0 {
			return false
		}
	}
	return true
}

// What a field of a header means here. meansSomething is all that may change
// the answer or where the request ends, and all that is not known.
type meant int

const (
	meansSomething meant = iota
	meansNothing
	meansHost
	meansAuthorization
	meansUserAgent
	meansConnection
)

// maxMeaning is the length of the longest name that is known.
const maxMeaning = len("docker-distribution-api-version")

func meaning(name string) meant {
	var buffer [maxMeaning]byte
	if len(name) > maxMeaning {
		return meansSomething
	}
	lower := buffer[:len(name)]
	for i := range lower {
		b := name[i]
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		lower[i] = b
	}
	switch string(lower) {
	case "host":
		return meansHost
	case "authorization":
		return meansAuthorization
	case "user-agent":
		return meansUserAgent
	case "connection":
		return meansConnection
	case "accept", "accept-encoding", "accept-language", "cache-control", "cookie", "dnt",
		"docker-distribution-api-version", "forwarded", "from", "keep-alive", "origin", "pragma", "referer",
		"traceparent", "tracestate", "via":
		return meansNothing
	}
	if len(lower) > 2 && lower[0] == 'x' && lower[1] == '-' && only(name, nameByte) {
		return meansNothing
	}
	return meansSomething
}

// heads counts the request heads in a stream of bytes, with line ends as lax as
// net/http's.
type heads struct {
	// ended is how many heads have come to their end.
	ended int
	// lines and line are those of the head, and the bytes of the line, that
	// have begun; last is the byte before.
	lines, line int
	last        byte
}

// between says whether the stream is where a head ends and the next has not
// begun.
func (s *heads) between() bool { return s.lines == 0 && s.line == 0 }

func (s *heads) scan(p []byte) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			s.line += len(p)
			s.last = p[len(p)-1]
			return
		}
		if i > 0 {
			s.line += i
			s.last = p[i-1]
		}
		empty := s.line == 0 || s.line == 1 && s.last == '\r'
		s.line = 0
		s.lines++
		// The first line is the request's, even if there is nothing on it.
		if empty && s.lines > 1 {
			s.lines = 0
			s.ended++
		}
		p = p[i+1:]
	}
}
