package accesslog

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// readAll follows the log to its end, from a place of its own if it is given
// one, and returns the lines and the place.
func readAll(t *testing.T, path string, from Position) (lines []string, place Position, f *Follower) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f = NewFollower(path, FollowerOptions{From: from, At: func(p Position) {
		place = p
		cancel()
	}})
	require.NoError(t, f.Run(ctx, func(line []byte) { lines = append(lines, string(line)) }))
	cancel()
	return lines, place, f
}

func TestAReaderKeepsItsOwnPlace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	appendTo(t, path, "1\n", "2\n")
	lines, place, _ := readAll(t, path, Position{})
	require.Equal(t, []string{"1", "2"}, lines)
	require.Equal(t, Position{Inode: place.Inode, Offset: 4, Last: 2, Sum: place.Sum}, place)

	appendTo(t, path, "3\n")
	lines, _, _ = readAll(t, path, Position{})
	require.Equal(t, []string{"3"}, lines, "the Follower's own place")
	lines, again, _ := readAll(t, path, place)
	require.Equal(t, []string{"3"}, lines, "the reader's goes before")
	require.NotEqual(t, place, again)

	require.NoError(t, os.Rename(path, path+".1"))
	appendTo(t, path, "4\n")
	lines, _, f := readAll(t, path, place)
	require.Equal(t, []string{"3", "4"}, lines, "also in a rotated file")
	assert.Zero(t, f.Gaps())
}

func TestAReadersPlaceSurvivesJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	appendTo(t, path, "1\n")
	_, place, _ := readAll(t, path, Position{})
	raw, err := json.Marshal(place)
	require.NoError(t, err)
	var again Position
	require.NoError(t, json.Unmarshal(raw, &again))
	require.Equal(t, place, again)
}

// A log in memory begins anew with the machine, and mostly with the same inode.
func TestAPlaceInAnotherFileOfTheSameInodeIsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	appendTo(t, path, "first\n", "second\n")
	_, place, _ := readAll(t, path, Position{})
	for name, content := range map[string]string{
		"other line":  "1rst\n2econds\n3\n",
		"longer":      "a whole line and\nmore of them\n",
		"shorter":     "1\n",
		"same end":    "xirst\nsxcond\n",
		"nothing yet": "",
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.Remove(path+".position"))
			require.NoError(t, os.WriteFile(path, []byte(content), 0o600)) // the inode stays
			lines, again, f := readAll(t, path, place)
			require.Equal(t, place.Inode, again.Inode)
			require.Equal(t, content, joined(lines))
			assert.Zero(t, f.Gaps(), "nothing is known to be lost")
			appendTo(t, path+".position", "{}")
		})
	}
}

func joined(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

func TestAPlaceThatMakesNoSense(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	appendTo(t, path, "first\n")
	_, good, _ := readAll(t, path, Position{})
	for name, change := range map[string]func(*Position){
		"below zero":       func(p *Position) { p.Offset = -1 },
		"long line":        func(p *Position) { p.Last = 1 << 60 },
		"line below zero":  func(p *Position) { p.Last = -5 },
		"before the start": func(p *Position) { p.Offset = 3 },
		"past the end":     func(p *Position) { p.Offset = 1 << 40 },
		"other sum":        func(p *Position) { p.Sum++ },
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.Remove(path+".position"))
			place := good
			change(&place)
			lines, _, _ := readAll(t, path, place)
			require.Equal(t, []string{"first"}, lines)
		})
	}
}

// Whenever it is told, the place has all lines before it and none after.
func TestThePlaceIsExact(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	var all strings.Builder
	for i := range 200_000 {
		fmt.Fprintln(&all, "line", i)
	}
	appendTo(t, path, all.String())
	ctx, cancel := context.WithCancel(context.Background())
	handled, told := int64(0), 0
	f := NewFollower(path, FollowerOptions{At: func(p Position) {
		told++
		assert.Equal(t, handled, p.Offset)
		if p.Offset == int64(all.Len()) {
			cancel()
		}
	}})
	require.NoError(t, f.Run(ctx, func(line []byte) { handled += int64(len(line)) + 1 }))
	require.EqualValues(t, all.Len(), handled)
	require.Greater(t, told, 3, "also while there is more to read")
}

// The writer's last lines come just before the end.
func TestWhatWasWrittenBeforeTheEndIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	appendTo(t, path, "1\n")
	ctx, cancel := context.WithCancel(context.Background())
	var lines []string
	f := NewFollower(path, FollowerOptions{})
	require.NoError(t, f.Run(ctx, func(line []byte) {
		if lines = append(lines, string(line)); len(lines) == 1 {
			cancel()
			appendTo(t, path, "2\n")
		}
	}))
	require.Equal(t, []string{"1", "2"}, lines)
	lines, _, _ = readAll(t, path, Position{})
	require.Empty(t, lines, "and is not read again")
}
