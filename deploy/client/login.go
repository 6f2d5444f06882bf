package client

import (
	"encoding/base64"
	"errors"
	"strings"
)

// Login is how a client logs in to a cache that wants it.
type Login struct {
	Username, Password string
}

// basic is the login as auth files and HTTP's Basic authentication have it.
func (l Login) basic() (string, error) {
	switch {
	case l.Username == "":
		return "", errors.New("the user name is empty")
	case strings.Contains(l.Username, ":"):
		return "", errors.New("the user name has a colon, at which clients would cut it off (RFC 7617)")
	case l.Password == "":
		return "", errors.New("the password is empty")
	}
	return base64.StdEncoding.EncodeToString([]byte(l.Username + ":" + l.Password)), nil
}
