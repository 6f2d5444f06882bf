package accesslog

import (
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// maxString is how much of one string of a record is written, in bytes. Paths
// and user agents are the client's to choose; cut, a line stays below maxLine.
const maxString = 4 << 10

// appendLine appends the record as one line of JSON, the same that
// encoding/json makes but without reflection and without escaping HTML.
func appendLine(b []byte, r *Record) []byte {
	b = append(b, `{"time":"`...)
	b = r.Time.AppendFormat(b, time.RFC3339Nano)
	b = append(b, '"')
	b = appendString(b, "remote_addr", r.RemoteAddr)
	b = appendOptional(b, "user", r.User)
	b = appendString(b, "method", r.Method)
	b = appendString(b, "path", r.Path)
	b = appendOptional(b, "upstream", r.Upstream)
	b = appendOptional(b, "repository", r.Repository)
	b = appendOptional(b, "reference", r.Reference)
	b = appendOptional(b, "kind", r.Kind)
	b = appendOptional(b, "digest", r.Digest)
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(r.Status), 10)
	b = append(b, `,"bytes":`...)
	b = strconv.AppendInt(b, r.Bytes, 10)
	b = append(b, `,"duration":`...)
	b = appendSeconds(b, r.Duration)
	b = appendOptional(b, "cache", string(r.Cache))
	b = appendOptional(b, "user_agent", r.UserAgent)
	return append(b, '}', '\n')
}

// appendSeconds writes what JSON can't hold as 0.
func appendSeconds(b []byte, s float64) []byte {
	if math.IsNaN(s) || math.IsInf(s, 0) {
		return append(b, '0')
	}
	return strconv.AppendFloat(b, s, 'f', -1, 64)
}

func appendOptional(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	return appendString(b, key, value)
}

func appendString(b []byte, key, value string) []byte {
	b = append(b, ',', '"')
	b = append(b, key...)
	b = append(b, '"', ':', '"')
	b = appendEscaped(b, cut(value))
	return append(b, '"')
}

// cut shortens a string to maxString without splitting a character.
func cut(s string) string {
	if len(s) <= maxString {
		return s
	}
	end := maxString
	for end > maxString-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

const hexDigits = "0123456789abcdef"

// appendEscaped copies runs of characters that stand for themselves in one go.
func appendEscaped(b []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' && c != 0x7f {
				i++
				continue
			}
			b = append(b, s[start:i]...)
			if c == '"' || c == '\\' {
				b = append(b, '\\', c)
			} else {
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			b = append(b, s[start:i]...)
			b = append(b, `\ufffd`...)
			i++
			start = i
			continue
		}
		i += size
	}
	return append(b, s[start:]...)
}
