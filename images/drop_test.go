package images

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What happens between the look at a link and taking it can't be timed from
// outside, so drop is tried on its own.
func TestDropGivesBackWhatIsWantedAfterAll(t *testing.T) {
	for name, c := range map[string]struct {
		wanted func(path string) bool
		want   string
	}{
		"not wanted": {func(string) bool { return false }, ""},
		"wanted":     {func(string) bool { return true }, "old"},
		"wanted and newer by now": {func(path string) bool {
			return os.WriteFile(path, []byte("new"), 0o600) == nil
		}, "new"},
		"not wanted and newer by now": {func(path string) bool {
			return os.WriteFile(path, []byte("new"), 0o600) != nil
		}, "new"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "link")
			require.NoError(t, os.WriteFile(path, []byte("old"), 0o600))
			w := sweeper{ctx: context.Background(), before: time.Now().Add(time.Hour)}
			gone, err := w.drop(path, func(content []byte) bool {
				require.Equal(t, "old", string(content))
				require.NoFileExists(t, path)
				return c.wanted(path)
			})
			require.NoError(t, err)
			if c.want == "" {
				require.True(t, gone)
				require.NoFileExists(t, path)
			} else {
				got, err := os.ReadFile(path)
				require.NoError(t, err)
				require.Equal(t, c.want, string(got))
			}
			entries, err := os.ReadDir(filepath.Dir(path))
			require.NoError(t, err)
			require.LessOrEqual(t, len(entries), 1, "nothing is left aside")
		})
	}
}
