package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"registrycache/images"
	"registrycache/images/imagestest"
)

// cleanable is a store of five images, 40 KiB each, in the environment of a
// command.
func cleanable(t *testing.T) *images.Store {
	t.Helper()
	dir := t.TempDir()
	store := imagestest.Make(t, dir, imagestest.OfBlobs(50))
	t.Setenv("REGISTRYDIR", dir)
	t.Setenv("RUNDIR", filepath.Join(dir, "run"))
	t.Setenv("CLEANER_MIN_FREE", "off")
	t.Setenv("CLEANER_MAXSIZE", "10G")
	return store
}

func cleanJSON(t *testing.T, args ...string) (c cleaned, err error) {
	t.Helper()
	out, err := execute(t, append([]string{"clean", "--json"}, args...)...)
	require.NoError(t, json.Unmarshal([]byte(out), &c), "%s", out)
	return c, err
}

func blobs(t *testing.T, s *images.Store) int {
	t.Helper()
	v, err := s.Take(context.Background())
	require.NoError(t, err)
	return len(v.Blobs)
}

func TestCleanSaysThatNothingIsDue(t *testing.T) {
	s := cleanable(t)
	out, err := execute(t, "clean")
	require.NoError(t, err)
	require.Contains(t, out, "gone   nothing: nothing is due\n")
	require.Contains(t, out, "store  200 KiB\n")
	require.Contains(t, out, "limit  9.3 GiB, cleaned above 11 GiB\n")
	require.NotContains(t, out, "NAME")
	require.Equal(t, 50, blobs(t, s))
}

func TestCleanShowsWhatWouldGoAndWhy(t *testing.T) {
	s := cleanable(t)
	config := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(config, []byte("upstreams: {quay.io: {maxSize: 100KiB}}\npin: ['quay.io/org0/app0:v4']\n"), 0o600))
	t.Setenv("CONFIG_FILE", config)
	t.Setenv("CLEANER_MAXAGE", "7d")
	out, err := execute(t, "clean", "--dry-run")
	require.NoError(t, err)
	require.Equal(t, 50, blobs(t, s), "nothing went")
	for _, want := range []string{
		"NAME ", "SIZE ", "LAST USED ", "WHY\n",
		"quay.io/org0/app0:v3  40 KiB  ", "over the quota of quay.io\n",
		"would go  3 images, ", "store     100 KiB, was 200 KiB\n", "quota     100 KiB, quay.io had 200 KiB\n",
		"age       7d\n", "pins      1 pattern, keeping 40 KiB\n", "free, as much as may be\n",
	} {
		require.Contains(t, out, want)
	}
	require.NotContains(t, out, "app0:v4")

	report, err := cleanJSON(t, "--dry-run")
	require.NoError(t, err)
	require.True(t, report.DryRun)
	require.Len(t, report.Images, 3)
	require.Equal(t, "quay.io/org0/app0:v3", report.Images[0].Name)
	require.EqualValues(t, "quota", report.Images[0].Why)
	require.EqualValues(t, 40<<10, report.Pinned)

	for setting, want := range map[string]string{"CLEANER_MAXSIZE=100KB": "over the limit", "CLEANER_MAXAGE=1h": "unused for 1h", "CLEANER_MIN_FREE=99.99%": "the disk is short"} {
		t.Run(setting, func(t *testing.T) {
			name, value, _ := strings.Cut(setting, "=")
			require.NoError(t, os.WriteFile(config, []byte("{}"), 0o600))
			t.Setenv(name, value)
			out, err := execute(t, "clean", "--dry-run")
			require.NoError(t, err)
			require.Contains(t, out, want+"\n")
		})
	}
}

func TestCleanToASize(t *testing.T) {
	s := cleanable(t)
	t.Setenv("CLEANER_MAXAGE", "1s") // is no matter here
	out, err := execute(t, "clean", "--to", "120KiB")
	require.NoError(t, err)
	require.Equal(t, 30, blobs(t, s))
	require.Contains(t, out, "quay.io/org0/app0:v4  40 KiB  ")
	require.Contains(t, out, "  --to 120KiB\n")
	require.Contains(t, out, "gone    2 images, 80 KiB in 20 blobs; took ")
	require.Contains(t, out, "store   120 KiB, was 200 KiB\n")
	require.Contains(t, out, "target  120 KiB\n")
	growth, err := s.Growth().Bytes()
	require.NoError(t, err)
	require.EqualValues(t, -80<<10, growth, "the running cleaner is told")

	out, err = execute(t, "clean", "--to", "1GB")
	require.NoError(t, err)
	require.Contains(t, out, "nothing: the store is not larger")

	report, err := cleanJSON(t, "--to", "0")
	require.NoError(t, err)
	require.Len(t, report.Images, 3)
	require.Zero(t, report.After)
	require.Zero(t, blobs(t, s))
}

func TestCleanFailsWhereNotEnoughMayGo(t *testing.T) {
	cleanable(t)
	config := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(config, []byte("pin: ['quay.io/*']\n"), 0o600))
	t.Setenv("CONFIG_FILE", config)
	out, err := execute(t, "clean", "--to", "40KiB")
	require.EqualError(t, err, "160 KiB more should have gone: 200 KiB are pinned")
	require.Contains(t, out, "missing  160 KiB more should go and may not\n")
	_, err = execute(t, "clean", "--to", "40KiB", "--dry-run")
	require.NoError(t, err)
}

func TestCleanNamesWhatWentWhateverFailsThen(t *testing.T) {
	cleanable(t)
	layers, err := filepath.Glob(filepath.Join(os.Getenv("REGISTRYDIR"), "docker/registry/v2/repositories/*/*/*/_layers/sha256/*/link"))
	require.NoError(t, err)
	require.NotEmpty(t, layers)
	require.NoError(t, os.Remove(layers[0]))
	require.NoError(t, os.MkdirAll(filepath.Join(layers[0], "not a link"), 0o755))
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(layers[0], old, old))
	c, err := cleanJSON(t, "--to", "0")
	require.ErrorContains(t, err, layers[0])
	require.Len(t, c.Images, 5)
	require.Contains(t, c.Error, layers[0])
}

func TestCleanRefusesWhatItCanNotDo(t *testing.T) {
	cleanable(t)
	for args, want := range map[string]string{
		"--to 5GX":            `"5GX" is not a size; write a number above 0 and a unit, such as 10G (10^10 bytes) or 10GiB (10*2^30); or 0 to remove all that may go`,
		"--to -5G":            `"-5G" is not a size`,
		"--to 5,5GiB,":        `is not a size`,
		"--verify --rate 0":   `"0" is not a size; write a number above 0 and a unit, such as 10G (10^10 bytes) or 10GiB (10*2^30); or off for as fast as it goes`,
		"--rate 5M":           "--rate is how fast --verify reads; give both",
		"--verify --to 5GiB":  "give one of them",
		"quay.io/podman/none": `unknown command "quay.io/podman/none"`,
	} {
		_, err := execute(t, append([]string{"clean"}, strings.Fields(args)...)...)
		require.ErrorContains(t, err, want, args)
	}
	t.Setenv("REGISTRYDIR", t.TempDir())
	_, err := execute(t, "clean", "--dry-run")
	require.ErrorContains(t, err, "there is no store: ")
	require.ErrorContains(t, err, "set REGISTRYDIR")
	entries, err := os.ReadDir(os.Getenv("REGISTRYDIR"))
	require.NoError(t, err)
	require.Empty(t, entries, "nothing is made by mistake")
	t.Setenv("REGISTRYDIR", "/nonexistent")
	_, err = execute(t, "clean")
	require.ErrorContains(t, err, "stat /nonexistent: no such file or directory; set REGISTRYDIR")
}

func TestCleanVerify(t *testing.T) {
	s := cleanable(t)
	// The layers of a made store are not what their digests say; the rest is.
	out, err := execute(t, "clean", "--verify", "--dry-run")
	require.ErrorIs(t, err, errReported)
	require.Contains(t, out, "40 blobs; without --dry-run they would be dropped\n")
	require.Equal(t, 50, blobs(t, s))
	_, err = s.LastVerify()
	require.Error(t, err, "a dry run is not remembered")

	out, err = execute(t, "clean", "--verify", "--rate", "off")
	require.ErrorIs(t, err, errReported)
	require.Contains(t, out, "BAD BLOB ")
	require.Contains(t, out, "needed by quay.io/org0/app0:v", "as they are found")
	require.Contains(t, out, "40 blobs, dropped: the next pull fetches them again\n")
	require.Equal(t, 10, blobs(t, s))

	out, err = execute(t, "clean", "--verify", "--json")
	require.NoError(t, err)
	var v verifiedStore
	require.NoError(t, json.Unmarshal([]byte(out), &v), "%s", out)
	require.Equal(t, 10, v.Blobs)
	require.Empty(t, v.Bad)
	require.Contains(t, out, `"bad":[]`)
	last, err := s.LastVerify()
	require.NoError(t, err)
	require.Zero(t, last.Bad)
}

// A disk that is full takes no note of it.
func TestVerifyTellsWhatItCanNotKeep(t *testing.T) {
	s := cleanable(t)
	require.NoError(t, os.Mkdir(filepath.Join(os.Getenv("REGISTRYDIR"), "docker/registry/v2/verified"), 0o755))
	out, err := execute(t, "clean", "--verify")
	require.ErrorIs(t, err, errReported)
	require.Contains(t, out, "40 blobs, dropped: the next pull fetches them again\n")
	require.Contains(t, out, "the metrics won't show this verify: ")
	require.Equal(t, 10, blobs(t, s))
}

func TestVerifyNamesWhatMustBePushedAgain(t *testing.T) {
	s := cleanable(t)
	hosted, err := images.Open(images.HostedDir(os.Getenv("REGISTRYDIR")))
	require.NoError(t, err)
	cached(t, hosted, "local/team/app", "", 0, 1, "1", "2") // all is as its digest says, but for the padding
	out, err := execute(t, "clean", "--verify", "--dry-run")
	require.Error(t, err)
	require.Contains(t, out, "push again  local/team/app:1, which no upstream has\n")
	require.Contains(t, out, "push again  local/team/app:2, which no upstream has\n")
	require.Equal(t, 50, blobs(t, s))
	out, err = execute(t, "clean", "--verify", "--json")
	require.Error(t, err)
	require.Contains(t, out, `"pushAgain":["local/team/app:1","local/team/app:2"]`)
	_, err = hosted.StatBlob(digest.FromString(`{"os":"linux","architecture":"amd64"}`))
	require.ErrorIs(t, err, fs.ErrNotExist, "dropped, so that it is taken when it is pushed again")
}

// Each of the two stores has a bar to itself, as one that ended shows nothing.
func TestVerifyOfPushedImagesShowsOnATerminal(t *testing.T) {
	cleanable(t)
	hosted, err := images.Open(images.HostedDir(os.Getenv("REGISTRYDIR")))
	require.NoError(t, err)
	cached(t, hosted, "local/team/app", "pushed", 1, 1, "1")
	screen, program := terminal(t)
	shown := make(chan string)
	go func() {
		text, _ := io.ReadAll(screen) // until the other end is closed
		shown <- string(text)
	}()
	root := rootCommand()
	root.SetArgs([]string{"clean", "--verify"})
	root.SetOut(io.Discard)
	root.SetErr(program)
	require.ErrorIs(t, root.Execute(), errReported)
	require.NoError(t, program.Close())
	require.Contains(t, <-shown, "needed by local/team/app:1; dropped")
}

func TestMeterPrintsLinesWhereThereIsNoTerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		m := newMeter(&out, "verified")
		m.set(0, 0)
		m.set(0, 4<<20)
		time.Sleep(meterEvery)
		m.set(1<<20, 4<<20)
		m.set(2<<20, 4<<20)
		m.say("bad: x")
		time.Sleep(meterEvery)
		m.set(3<<20, 4<<20)
		m.end()
		require.Equal(t, "verified 1.0 MiB of 4.0 MiB, 25 %\nbad: x\nverified 3.0 MiB of 4.0 MiB, 75 %\n", out.String())
	})
}

// terminal returns both ends of a new one.
func terminal(t *testing.T) (screen, program *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = screen.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetWinsize(int(screen.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 25, Col: 120}))
	program, err = os.OpenFile(filepath.Join("/dev/pts", strconv.Itoa(n)), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = program.Close() })
	return screen, program
}

func TestMeterDrawsABarOnATerminal(t *testing.T) {
	screen, program := terminal(t)
	m := newMeter(program, "verified")
	m.set(1<<20, 4<<20)
	m.say("bad: x")
	shown := &bytes.Buffer{}
	for !strings.Contains(shown.String(), "25 %") || !strings.Contains(shown.String(), "bad: x") {
		buffer := make([]byte, 4096)
		n, err := screen.Read(buffer)
		require.NoError(t, err)
		shown.Write(buffer[:n])
		m.set(1<<20, 4<<20)
	}
	require.Contains(t, shown.String(), "verified ")
	require.Contains(t, shown.String(), "1.0 MiB of 4.0 MiB")
	require.Contains(t, shown.String(), " left")
	m.end()
}
