package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// htpasswdCure is how a line is made.
const htpasswdCure = "make the line with `htpasswd -nB <user>`"

// slowestBcrypt is the highest cost that leaves a pull bearable: each step
// doubles the time, and this one takes seconds.
const slowestBcrypt = 16

// loadHtpasswd reads the htpasswd file here, once, rather than leave it to
// distribution, which would create a missing one and log its password.
func (l *loader) loadHtpasswd() {
	auth := ClientAuth{Type: AuthHtpasswd, Realm: l.set.HtpasswdRealm}
	if hasControl(auth.Realm) || strings.ContainsAny(auth.Realm, `"\`) {
		l.mistake("REGISTRY_AUTH_HTPASSWD_REALM", "can't hold quotes, backslashes or line ends; write a plain name")
	}
	path := string(l.set.HtpasswdPath)
	if path == "" {
		l.mistake("REGISTRY_AUTH_HTPASSWD_PATH", "is missing; name the file, made with `htpasswd -B -c <file> <user>`")
		return
	}
	l.watch(path)
	content, err := readText(path)
	if err != nil {
		l.mistake("REGISTRY_AUTH_HTPASSWD_PATH", "%v; make it with `htpasswd -B -c <file> <user>`", err)
		return
	}
	l.parseHtpasswd(path, content)
	auth.Htpasswd = Secret(content)
	l.cfg.Auth = auth
}

// parseHtpasswd returns the users and the lines they stand in.
func (l *loader) parseHtpasswd(path string, content []byte) map[string]int {
	users := map[string]int{}
	number := 0
	for line := range bytes.Lines(content) {
		number++
		text := strings.TrimSpace(string(line))
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		where := fmt.Sprintf("%s:%d", path, number)
		user, hash, ok := strings.Cut(text, ":")
		if err := checkHash(hash); !ok || user == "" {
			l.mistake(where, "is not user:hash; %s", htpasswdCure)
		} else if err != nil {
			l.mistake(where, "%v; %s", err, htpasswdCure)
		}
		if first := users[user]; first != 0 {
			l.mistake(where, "is for the same user as line %d; keep one", first)
			continue
		}
		users[user] = number
	}
	if len(users) == 0 {
		l.mistake(path, "holds no user; %s", htpasswdCure)
	}
	return users
}

// bcryptHash is a bcrypt hash at its full length; the library takes shorter
// ones, which no password matches.
var bcryptHash = regexp.MustCompile(`^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$`)

func checkHash(hash string) error {
	cost, err := bcrypt.Cost([]byte(hash))
	switch {
	case strings.HasPrefix(hash, "$2") && (err != nil || !bcryptHash.MatchString(hash)):
		return errors.New("the bcrypt hash is damaged")
	case err != nil || !bcryptHash.MatchString(hash):
		return errors.New("the hash is not bcrypt, the only kind accepted")
	case cost > slowestBcrypt:
		return fmt.Errorf("bcrypt's cost of %d takes too long to check; use at most %d", cost, slowestBcrypt)
	}
	return nil
}
