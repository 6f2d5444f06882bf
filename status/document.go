package status

import (
	"encoding/json"
	"math"
	"time"
)

// Path is where a process gives its Part, on its admin socket, and where the
// supervisor gives the Document.
const Path = "/status"

// Document is the state of the whole cache at one time.
type Document struct {
	Time    time.Time `json:"time"`
	Version string    `json:"version"`
	// Since is when the supervisor was started.
	Since time.Time `json:"since"`
	// State is as at /readyz: ok, degraded, starting, unavailable or draining.
	State string `json:"state"`
	// Reasons are why it is degraded, in words.
	Reasons   []string   `json:"reasons,omitempty"`
	Offline   bool       `json:"offline,omitempty"`
	Upstreams []Upstream `json:"upstreams"`
	Processes []Process  `json:"processes"`
	// Traffic, Store and Hosted are nil when the process that knows did not
	// answer, and Hosted when nothing can be pushed.
	Traffic *Traffic `json:"traffic,omitempty"`
	Store   *Store   `json:"store,omitempty"`
	Hosted  *Hosted  `json:"hosted,omitempty"`
	// Fills are under way now, oldest first.
	Fills []Fill `json:"fills"`
	// Problems are the last lines of the log at warn or above, newest first.
	Problems []Problem `json:"problems"`
}

// Part is what one process knows; the rest is nil.
type Part struct {
	Upstream *Upstream `json:"upstream,omitempty"` // a worker
	Fills    []Fill    `json:"fills,omitempty"`    // a worker
	Hosted   *Hosted   `json:"hosted,omitempty"`   // the worker of what is pushed
	Traffic  *Traffic  `json:"traffic,omitempty"`  // the logger
	Store    *Store    `json:"store,omitempty"`    // the cleaner
}

// Process is one process of the cache.
type Process struct {
	Name string `json:"name"`
	// State is as at /readyz: starting, ready, silent, restarting or draining.
	State string `json:"state"`
	PID   int    `json:"pid,omitempty"` // 0 while there is none
	// Restarts are those that were not asked for.
	Restarts int       `json:"restarts"`
	Since    time.Time `json:"since,omitzero"`
	// Memory is its resident memory, pages shared with other processes
	// included; 0 when it is not known.
	Memory int64 `json:"memory"`
}

// Problem is a line of the log.
type Problem struct {
	Time    time.Time `json:"time"`
	Level   string    `json:"level"`
	Process string    `json:"process"`
	Text    string    `json:"text"`
	// Error is the error that the line was about, if any.
	Error string `json:"error,omitempty"`
	// Count is how often the line came; Time is that of the last.
	Count int `json:"count"`
}

// Seconds is a duration that is a number of seconds in JSON.
type Seconds time.Duration

// Duration returns s as what it is.
func (s Seconds) Duration() time.Duration { return time.Duration(s) }

// MarshalJSON implements json.Marshaler.
func (s Seconds) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(s).Seconds()) }

// UnmarshalJSON implements json.Unmarshaler.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	var n float64
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	*s = Seconds(math.Round(n * float64(time.Second)))
	return nil
}
