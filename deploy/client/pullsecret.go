package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// PullSecret makes the auth file with which a client logs in to the cache. The
// rest of the auth file existing is kept, if one is given.
func PullSecret(c Cache, login Login, existing []byte) ([]File, error) {
	basic, err := login.basic()
	if err != nil {
		return nil, err
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
	if auths[c.Host], err = json.Marshal(map[string]string{"auth": basic}); err != nil {
		return nil, err
	}
	if doc["auths"], err = json.Marshal(auths); err != nil {
		return nil, err
	}
	f, err := jsonFile("pull-secret.json", doc)
	f.Secret = true
	return one(f, err)
}
