package config

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
)

// maxSocketPath is the longest path a unix socket can have on Linux
// (sun_path in unix(7), less the final NUL).
const maxSocketPath = 107

// hashedSocketLength is the length of a socket's file name once hashed.
const hashedSocketLength = 2*socketHashBytes + len(".sock")

const socketHashBytes = 8

// Socket returns the path of the unix socket called name. A name too long for
// a socket address is replaced by its hash.
func (c *Config) Socket(name string) string {
	path := filepath.Join(c.RunDir, name+".sock")
	if len(path) <= maxSocketPath {
		return path
	}
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(c.RunDir, hex.EncodeToString(sum[:socketHashBytes])+".sock")
}
