package config

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// authFields are what docker/cli, containers/image and Kubernetes write into
// one entry of auths.
var authFields = []string{"auth", "username", "password", "email", "identitytoken", "registrytoken", "serveraddress"}

const authForm = `write {"auth": "<base64 of user:password>"} or {"username": "...", "password": "..."}`

// parseCredential reads one value of auths. It returns nil for an entry that
// holds no credentials, which Docker writes when a credential helper has them.
// The errors never show a value.
func parseCredential(value json.RawMessage) (*Credential, error) {
	members, err := jsonObject(value)
	if err != nil {
		return nil, fmt.Errorf("%w; %s", err, authForm)
	}
	fields := map[string]string{}
	for _, m := range members {
		_, twice := fields[m.name]
		text, ok := jsonText(m.value)
		switch {
		case !slices.Contains(authFields, m.name):
			return nil, fmt.Errorf("unknown key %q; %s", m.name, didYouMean(m.name, authFields))
		case twice:
			return nil, fmt.Errorf("%s is there more than once; keep one", m.name)
		case !ok:
			return nil, fmt.Errorf("%s is not a text in quotes; %s", m.name, authForm)
		}
		fields[m.name] = text
	}
	return credentialOf(fields)
}

func credentialOf(fields map[string]string) (*Credential, error) {
	user := fields["username"]
	password := trimLineEnd(fields["password"])
	token := strings.TrimSpace(fields["identitytoken"])
	if auth := fields["auth"]; strings.TrimSpace(auth) != "" {
		u, p, err := decodeAuth(auth)
		if err != nil {
			return nil, err
		}
		if user != "" && user != u || password != "" && password != p {
			return nil, errors.New("auth says otherwise than username and password; keep one of the two")
		}
		user, password = u, p
	}
	switch {
	case token != "" || password != "":
		return &Credential{Username: user, Password: Secret(password), IdentityToken: Secret(token)}, nil
	case user != "":
		return nil, errors.New("the password is empty; " + authForm)
	case fields["registrytoken"] != "":
		return nil, errors.New("registrytoken alone can't be used, since it expires and can't be renewed; " + authForm)
	}
	return nil, nil
}

// decodeAuth reads base64 of user:password. Passwords may hold colons, user
// names can't. Line ends that crept in with echo or base64 -w go.
func decodeAuth(auth string) (user, password string, err error) {
	encoded := strings.TrimRight(strings.Join(strings.Fields(auth), ""), "=")
	decoded, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil || !utf8.Valid(decoded) {
		return "", "", errors.New("auth is not base64 of user:password; write what `printf %s 'user:password' | base64 -w0` prints")
	}
	user, password, ok := strings.Cut(trimLineEnd(string(decoded)), ":")
	if !ok {
		return "", "", errors.New("auth decodes to something without a colon; it must be base64 of user:password")
	}
	return user, password, nil
}

// trimLineEnd drops line ends, and the NULs with which Docker once padded.
func trimLineEnd(s string) string { return strings.TrimRight(s, "\r\n\x00") }
