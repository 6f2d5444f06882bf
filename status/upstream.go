package status

import "time"

// States of an Upstream.
const (
	// Untried is an upstream that was not asked for anything yet.
	Untried = "untried"
	// Answering is one whose last answer was one.
	Answering = "ok"
	// Failing is one that could not be reached, or refused or failed, when it
	// was asked last.
	Failing = "failing"
	// Offline is one that is not asked, by the operator's will.
	Offline = "offline"
)

// Circuit says whether pulls wait for the upstream.
const (
	CircuitClosed = "closed"
	// CircuitOpen is while known tags are served without asking.
	CircuitOpen = "open"
)

// How an upstream takes its credentials.
const (
	Anonymous   = "anonymous" // there are none
	Unused      = "unused"    // none was needed yet
	Accepted    = "ok"
	Refused     = "refused"
	PartRefused = "partly refused" // some are and some are not
)

// Upstream is one registry that is cached.
type Upstream struct {
	// Name is as in the configuration, Path the first part of the names of what
	// is pulled from it.
	Name        string   `json:"name"`
	Path        string   `json:"path"`
	Aliases     []string `json:"aliases,omitempty"`
	State       string   `json:"state"`
	Circuit     string   `json:"circuit"`
	Credentials string   `json:"credentials"`
	// Answered is when it answered last.
	Answered time.Time `json:"answered,omitzero"`
	// Failure is the last error, also when it answers again.
	Failure   *Failure   `json:"failure,omitempty"`
	RateLimit *RateLimit `json:"rate_limit,omitempty"`
	// Process is the state of its worker's process, set by the supervisor.
	Process string `json:"process"`
}

// Failure is an upstream's error.
type Failure struct {
	Time time.Time `json:"time"`
	Text string    `json:"text"`
}

// RateLimit is how much the upstream still gives, as it last said.
type RateLimit struct {
	Limit     int64     `json:"limit"`
	Remaining int64     `json:"remaining"`
	Window    Seconds   `json:"window,omitempty"`
	Time      time.Time `json:"time"` // when it said so
}

// Fill is the transfer of one blob into the store.
type Fill struct {
	Upstream   string `json:"upstream"`
	Repository string `json:"repository"` // who asked for it first
	Digest     string `json:"digest"`
	Size       int64  `json:"size"` // -1 when not known yet
	Have       int64  `json:"have"`
	// Rate is in bytes a second, over the last seconds.
	Rate        int64     `json:"rate"`
	Readers     int       `json:"readers"`
	Connections int       `json:"connections"`
	Since       time.Time `json:"since"`
}
