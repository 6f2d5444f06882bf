package images

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// LastVerify is what the store remembers of the Verify that ended last.
type LastVerify struct {
	Ended time.Time `json:"ended"`
	// Blobs were read, Left were not, Bad had other bytes than they should, and
	// Failed could not be judged.
	Blobs  int `json:"blobs"`
	Left   int `json:"left"`
	Bad    int `json:"bad"`
	Failed int `json:"failed"`
}

func (s *Store) lastVerifyPath() string { return filepath.Join(s.root, "verified") }

// RememberVerify writes down what a Verify found, for others to show.
func (s *Store) RememberVerify(v Verified, ended time.Time) error {
	content, err := json.Marshal(LastVerify{ended.UTC().Truncate(time.Second), v.Blobs, v.Left, len(v.Bad), len(v.Failed)})
	if err == nil {
		err = writeFile(s.lastVerifyPath(), content)
	}
	if err == nil {
		s.giveToOwner(s.lastVerifyPath())
	}
	return err
}

// LastVerify returns fs.ErrNotExist when there was none.
func (s *Store) LastVerify() (LastVerify, error) {
	var last LastVerify
	content, err := os.ReadFile(s.lastVerifyPath())
	if err == nil {
		err = json.Unmarshal(content, &last)
	}
	return last, err
}
