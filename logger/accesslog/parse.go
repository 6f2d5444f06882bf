package accesslog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// maxLine bounds a line, in bytes: more than the Writer ever makes.
const maxLine = 512 << 10

// Parse reads one line, with or without its newline. Fields it does not know
// are ignored, so that a log written by a newer version can be read.
func Parse(line []byte) (Record, error) {
	r, ok := parsePlain(bytes.TrimSuffix(line, []byte{'\n'}))
	if !ok {
		r = Record{}
		if err := json.Unmarshal(line, &r); err != nil {
			return Record{}, fmt.Errorf("not an access record: %w", err)
		}
	}
	if r.Time.IsZero() || r.Method == "" || r.Status == 0 {
		return Record{}, errors.New("not an access record: time, method or status is missing")
	}
	return r, nil
}

// parsePlain reads what nearly every line is: an object of known keys without
// spaces, escapes or anything but ASCII. It says no to all else and leaves it
// to encoding/json, which takes five times as long and is a good part of
// what a hit costs.
func parsePlain(line []byte) (r Record, ok bool) {
	if len(line) < 2 || line[0] != '{' || line[len(line)-1] != '}' {
		return r, false
	}
	rest := line[1 : len(line)-1]
	for {
		var key, value []byte
		if key, rest, ok = plainString(rest); !ok || len(rest) < 2 || rest[0] != ':' {
			return r, false
		}
		if rest = rest[1:]; rest[0] == '"' {
			if value, rest, ok = plainString(rest); !ok || !r.setString(string(key), value) {
				return r, false
			}
		} else {
			value, rest = plainNumber(rest)
			if !r.setNumber(string(key), value) {
				return r, false
			}
		}
		if len(rest) == 0 {
			return r, true
		}
		if rest[0] != ',' {
			return r, false
		}
		rest = rest[1:]
	}
}

func plainString(b []byte) (s, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, nil, false
	}
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return b[1:i], b[i+1:], true
		case c < ' ' || c == '\\' || c >= 0x80:
			return nil, nil, false
		}
	}
	return nil, nil, false
}

// plainNumber takes digits with or without a fraction, as JSON has them.
func plainNumber(b []byte) (n, rest []byte) {
	digits := func(i int) int {
		for i < len(b) && '0' <= b[i] && b[i] <= '9' {
			i++
		}
		return i
	}
	end := digits(0)
	if end == 0 || end > 1 && b[0] == '0' {
		return nil, nil
	}
	if end < len(b) && b[end] == '.' {
		fraction := digits(end + 1)
		if fraction == end+1 {
			return nil, nil
		}
		end = fraction
	}
	return b[:end], b[end:]
}

func (r *Record) setString(key string, value []byte) bool {
	switch key {
	case "time":
		return r.Time.UnmarshalText(value) == nil
	case "remote_addr":
		r.RemoteAddr = string(value)
	case "user":
		r.User = string(value)
	case "method":
		r.Method = string(value)
	case "path":
		r.Path = string(value)
	case "upstream":
		r.Upstream = string(value)
	case "repository":
		r.Repository = string(value)
	case "reference":
		r.Reference = string(value)
	case "kind":
		r.Kind = string(value)
	case "digest":
		r.Digest = string(value)
	case "cache":
		r.Cache = CacheStatus(value)
	case "user_agent":
		r.UserAgent = string(value)
	default:
		return false
	}
	return true
}

func (r *Record) setNumber(key string, value []byte) bool {
	var err error
	switch key {
	case "status":
		r.Status, err = strconv.Atoi(string(value))
	case "bytes":
		r.Bytes, err = strconv.ParseInt(string(value), 10, 64)
	case "duration":
		r.Duration, err = strconv.ParseFloat(string(value), 64)
	default:
		return false
	}
	return err == nil
}
