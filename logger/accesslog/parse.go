package accesslog

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Parse reads one line, with or without its newline. Fields it does not know
// are ignored, so that a log written by a newer version can be read.
func Parse(line []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(line, &r); err != nil {
		return Record{}, fmt.Errorf("not an access record: %w", err)
	}
	if r.Time.IsZero() || r.Method == "" || r.Status == 0 {
		return Record{}, errors.New("not an access record: time, method or status is missing")
	}
	return r, nil
}

// maxLine bounds a line, in bytes: more than the Writer ever makes.
const maxLine = 512 << 10
