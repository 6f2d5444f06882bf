package supervisor

import (
	"fmt"
	"os"

	"registrycache/images"
)

// prepareStore makes the directories of the store. No process can begin without
// them, and all would be started again and again, each with the same complaint.
func prepareStore(dir string) error {
	if _, err := images.Open(dir); err != nil {
		return fmt.Errorf("REGISTRYDIR: %w; set REGISTRYDIR to a directory that user %d, group %d, as which the cache runs, can write to",
			err, os.Getuid(), os.Getgid())
	}
	return nil
}
