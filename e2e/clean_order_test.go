package e2e

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/require"

	"registrycache/e2e/harness"
)

// imageSize is about what the images of these tests take in the store.
const imageSize = 1_000_000

// shelf is a cache that has room for two images.
func shelf(t *testing.T, u *harness.Upstream) *harness.Appliance {
	t.Helper()
	return harness.Start(t, harness.Options{
		Logins:    map[string]string{"quay.io": harness.Login},
		Upstreams: map[string]harness.Settings{"quay.io": u.Settings()},
		Env: map[string]string{
			"CLEANER_MAXSIZE": "2.5MB", "CLEANER_THRESHOLD_PERCENTAGE": "0", "CLEANER_RUNEVERY_TIME": "24h",
			"CLEANER_MIN_FREE": "off",
		},
	})
}

// waitGone waits until an image was evicted, which must be the only one.
func waitGone(t *testing.T, a *harness.Appliance, name string) {
	t.Helper()
	line := a.WaitLog(`"store cleaned"`)
	require.Contains(t, line, `"evicted_images":1`)
	require.Contains(t, line, `"images":["`+name+`"]`)
}

// What was used last counts, not what was fetched last; and nobody waits for
// the next look when fills have grown the store past its limit.
func TestLastUseCountsNotTheFetch(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	hour, yesterday, third := harness.Image(t, imageSize), harness.Image(t, imageSize), harness.Image(t, imageSize)
	u.Push(t, "team/hour:1", hour)
	u.Push(t, "team/yesterday:1", yesterday)
	u.Push(t, "team/third:1", third)
	a := shelf(t, u)
	podman := harness.Podman(t)
	pull := func(name string) { podman.Pull(a.Addr + "/quay.io/team/" + name) }
	pull("hour:1")
	pull("yesterday:1")
	const hourName, yesterdayName, thirdName = "quay.io/team/hour:1", "quay.io/team/yesterday:1", "quay.io/team/third:1"
	complete(t, a, hourName, yesterdayName)
	a.Stop() // all uses so far are recorded, once
	backdate(t, a, time.Hour, 72*time.Hour, partsOf(t, hour)...)
	backdate(t, a, 24*time.Hour, 48*time.Hour, partsOf(t, yesterday)...)
	a.Start()

	pull("third:1")
	waitGone(t, a, yesterdayName)
	complete(t, a, hourName, thirdName)
	u.Stop()
	pull("hour:1")
}

// Clients that have the layers of an image ask for its manifest only. That is
// a use of all of it.
func TestUseByClientsThatHaveTheLayers(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	used, unused, third := harness.Image(t, imageSize), harness.Image(t, imageSize), harness.Image(t, imageSize)
	u.Push(t, "team/used:1", used)
	u.Push(t, "team/unused:1", unused)
	u.Push(t, "team/third:1", third)
	a := shelf(t, u)
	podman := harness.Podman(t)
	image := func(name string) string { return a.Addr + "/quay.io/team/" + name }
	podman.Pull(image("used:1"))
	podman.Pull(image("unused:1"))
	const usedName, unusedName, thirdName = "quay.io/team/used:1", "quay.io/team/unused:1", "quay.io/team/third:1"
	complete(t, a, usedName, unusedName)
	a.Stop() // all uses so far are recorded, once
	backdate(t, a, 3*time.Hour, 3*time.Hour, partsOf(t, used)...)
	backdate(t, a, 2*time.Hour, 2*time.Hour, partsOf(t, unused)...)
	a.Start()

	again, layer := time.Now().Add(-time.Second), partsOf(t, used)[2]
	before := served(t, a, layer)
	podman.Must("pull", "--quiet", "--tls-verify=false", image("used:1"))
	waitUsed(t, a, again, partsOf(t, used)...)
	require.Equal(t, before, served(t, a, layer), "nobody asked for the layer")

	podman.Pull(image("third:1"))
	waitGone(t, a, unusedName)
	complete(t, a, usedName, thirdName)
}

// served is how often the access log has a request for a blob.
func served(t *testing.T, a *harness.Appliance, blob string) int {
	t.Helper()
	content, err := os.ReadFile(a.AccessLog())
	require.NoError(t, err)
	return strings.Count(string(content), "/blobs/"+blob)
}

// Pins and quotas of CONFIG_FILE, and CLEANER_MAXAGE.
func TestPinnedQuotaAndAge(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	contents := map[string]v1.Image{}
	for _, name := range []string{"pinned", "old", "new", "ancient"} {
		contents[name] = harness.Image(t, imageSize)
		u.Push(t, "team/"+name+":1", contents[name])
	}
	settings := harness.ConfigFile(t, map[string]harness.Settings{"quay.io": u.Settings().With("maxSize", "2.5MB")})
	a := harness.Start(t, harness.Options{
		Logins:  map[string]string{"quay.io": harness.Login},
		Env:     map[string]string{"CLEANER_RUNEVERY_TIME": "1s", "CLEANER_MAXAGE": "100h", "CLEANER_MIN_FREE": "off"},
		Prepare: func(dir string) { harness.WriteFile(t, dir+"/config.yaml", settings+"pin: [quay.io/team/pinned]\n") },
	})
	pull := func(name string) {
		t.Helper()
		for _, part := range partsOf(t, contents[name])[1:] {
			require.Equal(t, http.StatusOK, a.HTTP(t).Must(http.MethodGet, "/v2/quay.io/team/"+name+"/blobs/"+part).Status)
			a.WaitStored(t, part)
		}
		require.Equal(t, http.StatusOK, a.HTTP(t).Must(http.MethodGet, "/v2/quay.io/team/"+name+"/manifests/1").Status)
		complete(t, a, namesOf(a, t, name)...)
	}
	pull("ancient")
	a.Stop() // the cleaner knows how old things are, and that they get no older than time
	backdate(t, a, 101*time.Hour, 200*time.Hour)
	a.Start()
	require.Contains(t, a.WaitLog(`"store cleaned"`), `"images":["quay.io/team/ancient:1"]`)

	pull("pinned")
	pull("old")
	a.Stop()
	backdate(t, a, 99*time.Hour, 200*time.Hour, partsOf(t, contents["pinned"])...)
	backdate(t, a, time.Hour, time.Hour, partsOf(t, contents["old"])...)
	a.Start()
	pull("new")
	require.Contains(t, a.WaitLog(`"store cleaned"`, "team/old"), `"images":["quay.io/team/old:1"]`)
	complete(t, a, "quay.io/team/pinned:1", "quay.io/team/new:1")
}

// namesOf are the images that are listed, and one more.
func namesOf(a *harness.Appliance, t *testing.T, name string) []string {
	t.Helper()
	names := map[string]bool{"quay.io/team/" + name + ":1": true}
	for listed := range images(t, a) {
		names[listed] = true
	}
	all := []string{}
	for listed := range names {
		all = append(all, listed)
	}
	return all
}
