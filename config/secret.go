package config

import (
	"fmt"
	"io"
)

// Secret is a string that formatting never shows. Only Reveal, and encoding
// to JSON on the pipe from the supervisor to the one process that needs it,
// give the value away.
type Secret string

const redacted = "[redacted]"

// Reveal returns the value itself.
func (s Secret) Reveal() string { return string(s) }

// Format implements fmt.Formatter for every verb, so that no flag can leak it.
func (s Secret) Format(f fmt.State, _ rune) {
	if s != "" {
		_, _ = io.WriteString(f, redacted)
	}
}

// Format shows nothing of a key pair. Secret.Format is not enough here: for a
// pointer and a verb that is not its own, fmt prints what it points to without
// asking it.
func (KeyPair) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, redacted)
}
