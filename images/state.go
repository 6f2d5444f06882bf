package images

import "path/filepath"

// StatePath is where a process keeps a file of its own across restarts. Its
// directory may be missing. Nothing else in the store looks there.
func (s *Store) StatePath(name string) string { return filepath.Join(s.root, "state", name) }
