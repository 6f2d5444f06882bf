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

// first reads the settings that the process starts with, and the log level
// among them. Every role has one, under the same name.
func (c *control[T]) first() (settings T, level string, err error) {
	var raw json.RawMessage
	if err := c.values.Decode(&raw); err != nil {
		return settings, "", err
	}
	var common struct{ LogLevel string }
	if err := json.Unmarshal(raw, &common); err != nil {
		return settings, "", err
	}
	err = json.Unmarshal(raw, &settings)
	return settings, common.LogLevel, err
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
