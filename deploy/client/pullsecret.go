package client

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// PullSecret makes the auth file with which a client logs in to the cache. The
// rest of the auth file existing is kept, if one is given.
func PullSecret(c Cache, username, password string, existing []byte) ([]File, error) {
	switch {
	case username == "":
		return nil, errors.New("the user name is empty")
	case strings.Contains(username, ":"):
		return nil, errors.New("the user name has a colon, at which clients would cut it off (RFC 7617)")
	case password == "":
		return nil, errors.New("the password is empty")
	}
	doc, auths := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if len(bytes.TrimSpace(existing)) > 0 {
		if err := json.Unmarshal(existing, &doc); err != nil {
			return nil, fmt.Errorf("not an auth file: %w", err)
		}
		if raw, ok := doc["auths"]; ok {
			if err := json.Unmarshal(raw, &auths); err != nil {
				return nil, fmt.Errorf("auths is not an object: %w", err)
			}
		}
	}
	if auths == nil || doc == nil { // JSON's null
		return nil, errors.New(`not an auth file: write {"auths": {}} when it has nothing yet`)
	}
	var err error
	if auths[c.Host], err = json.Marshal(map[string]string{
		"auth": base64.StdEncoding.EncodeToString([]byte(username + ":" + password)),
	}); err != nil {
		return nil, err
	}
	if doc["auths"], err = json.Marshal(auths); err != nil {
		return nil, err
	}
	f, err := jsonFile("pull-secret.json", doc)
	f.Secret = true
	return one(f, err)
}
