package child

import (
	"encoding/json"
	"syscall"
)

// control is the pipe on which the supervisor sends settings of type T.
type control[T any] struct {
	values  *json.Decoder
	updates chan T
}

func openControl[T any](fd int) (*control[T], error) {
	pipe, err := inherited(fd, syscall.S_IFIFO, "control")
	if err != nil {
		return nil, err
	}
	return &control[T]{values: json.NewDecoder(pipe), updates: make(chan T, 1)}, nil
}

// common are the settings that every role has, under the same names.
type common struct {
	LogLevel string
	Pprof    bool
}

// first reads the settings that the process starts with, and those among them
// that every role has.
func (c *control[T]) first() (settings T, all common, err error) {
	var raw json.RawMessage
	if err := c.values.Decode(&raw); err != nil {
		return settings, all, err
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		return settings, all, err
	}
	err = json.Unmarshal(raw, &settings)
	return settings, all, err
}

// follow passes later settings on until the pipe ends, and returns why. It
// never waits for a reader: the end of the pipe must be seen in any case.
func (c *control[T]) follow() error {
	for {
		var next T
		if err := c.values.Decode(&next); err != nil {
			return err
		}
		select {
		case <-c.updates: // not taken yet, and superseded
		default:
		}
		c.updates <- next
	}
}
