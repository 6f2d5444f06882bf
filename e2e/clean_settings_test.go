package e2e

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
	held "registrycache/images"
)

// A limit that is not one is refused with what is wrong and how it is right.
func TestBadCleanerSettings(t *testing.T) {
	t.Parallel()
	for name, values := range map[string][]string{
		"CLEANER_MAXSIZE":              {"10 elephants", "-1G", "0", "G"},
		"CLEANER_THRESHOLD_PERCENTAGE": {"-5", "20 percent", "x"},
		"CLEANER_RUNEVERY_TIME":        {"often", "-1m", "30", "0s"},
		"CLEANER_MIN_FREE":             {"101%", "-5%", "much"},
		"CLEANER_MAXAGE":               {"never", "-1h"},
	} {
		right := map[string]string{
			"CLEANER_MAXSIZE": "10GiB", "CLEANER_THRESHOLD_PERCENTAGE": "20", "CLEANER_RUNEVERY_TIME": "30m",
			"CLEANER_MIN_FREE": "5%", "CLEANER_MAXAGE": "7d",
		}[name]
		for _, value := range values {
			t.Run(name+"="+value, func(t *testing.T) {
				t.Parallel()
				a := harness.Configure(t, harness.Options{Env: map[string]string{name: value}})
				out := refused(t, a, "serve")
				require.Contains(t, out, name)
				require.Contains(t, out, value)
				require.Contains(t, out, right)
			})
		}
	}
}

// Sizes are read as go-humanize does.
func TestSizesOfTheLimit(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]int64{
		"10G": 1e10, "10GB": 1e10, "10GiB": 10 << 30, "10Gi": 10 << 30, "1.5T": 15e11, "20000000": 2e7, "3 MiB": 3 << 20,
	} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			a := harness.Configure(t, harness.Options{
				Logins: map[string]string{"quay.io": ""}, Env: map[string]string{"CLEANER_MAXSIZE": value},
			})
			_, err := held.Open(a.Store())
			require.NoError(t, err)
			var report struct{ Limit int64 }
			require.NoError(t, json.Unmarshal([]byte(command(t, a, "clean", "--dry-run", "--json")), &report))
			require.Equal(t, want, report.Limit)
		})
	}
}
