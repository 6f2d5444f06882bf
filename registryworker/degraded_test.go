package registryworker

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"registrycache/registryworker/fill"
)

func TestStoreHealth(t *testing.T) {
	for reason, err := range map[string]error{
		"":                   nil,
		"no space left":      &os.PathError{Op: "write", Path: "/store", Err: syscall.ENOSPC},
		"no permission":      &os.PathError{Op: "open", Path: "/store", Err: syscall.EACCES},
		"input/output error": fmt.Errorf("commit: %w", syscall.EIO),
		"see the log":        errors.New("anything else"),

		"disk quota exceeded":                    syscall.EDQUOT,
		"read-only file system":                  syscall.EROFS,
		"a blob is larger than the store may be": fmt.Errorf("%w: 2 bytes", fill.ErrTooLarge),
	} {
		value := 0
		if err != nil {
			value = 1
		}
		want := fmt.Sprintf("# HELP registry_cache_store_degraded 1 while what is pulled can't be kept in the store, and why; pulls go on.\n"+
			"# TYPE registry_cache_store_degraded gauge\nregistry_cache_store_degraded{reason=%q} %d\n", reason, value)
		require.NoError(t, testutil.CollectAndCompare(storeHealth{func() error { return err }}, strings.NewReader(want)))
	}
}
