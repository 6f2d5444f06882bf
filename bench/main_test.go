package bench

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/dustin/go-humanize"

	"registrycache/e2e/harness"
)

var (
	rounds = flag.Int("rounds", 5, "how often the contestants take turns; half as often for misses")
	binary = flag.String("binary", "", "the registry-cache to measure, instead of what this tree builds")
	giant  = int64(4 * giB)
	blobs  = flag.Int("blobs", 1_000_000, "blobs in the large store that is cleaned; making a million takes two minutes, and 16 GiB")
	doc    = flag.String("doc", "", "the document whose tables are replaced by those of this run, if it measured all rows")
)

func init() {
	flag.Func("giant", "size of the largest blob, such as 10GiB (default 4GiB)", func(text string) error {
		size, err := humanize.ParseBytes(text)
		giant = int64(size)
		return err
	})
}

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.bench").Value.String() == "" {
		os.Exit(m.Run())
	}
	code, err := runBenchmarks(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(1, code)
	}
	os.Exit(code)
}

func runBenchmarks(m *testing.M) (code int, err error) {
	// Debian's daemons are not in an ordinary user's PATH.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin"); err != nil {
		return 0, err
	}
	if err := openScratch(); err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(scratch.dir) }()
	if harness.Binary = *binary; harness.Binary == "" {
		if err := harness.Build(scratch.dir); err != nil {
			return 0, err
		}
	}
	before := describeMachine()
	code = m.Run()
	for _, s := range sections {
		if s.measured() == 0 {
			continue
		}
		fmt.Printf("\n%s\n\n%s\n", s.title, s.table())
		if err := s.publish(*doc, before); err != nil {
			return code, err
		}
	}
	return code, nil
}
