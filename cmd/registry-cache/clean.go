package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"registrycache/cleaner"
	"registrycache/config"
	"registrycache/images"
)

// cleanFlags are those of the command clean.
type cleanFlags struct {
	dryRun, verify, json bool
	to                   wantedSize
	rate                 wantedSize
}

// verifyRate is how fast clean --verify reads unless it is told otherwise: a
// terabyte in three hours, and little of what a disk can do.
const verifyRate = 100 << 20

func cleanCommand() *cobra.Command {
	f := cleanFlags{
		to:   wantedSize{none: "0", noneMeans: "0 to remove all that may go"},
		rate: wantedSize{bytes: verifyRate, text: "100MiB", none: "off", noneMeans: "off for as fast as it goes"},
	}
	cmd := &cobra.Command{
		Use:   "clean",
		Short: "Remove what was used longest ago, or verify what is stored",
		Long: `Remove from the store, image by image, what was used longest ago.

Without flags it does what the settings call for at this moment, as the running
cache does by itself: above CLEANER_MAXSIZE and the threshold, below
CLEANER_MIN_FREE, above the maxSize of an upstream, unused for CLEANER_MAXAGE.
Pinned images stay, and so does what landed within the last minute. Pushed images
are no part of it: images rm removes them.

With --verify it reads the blobs, those of pushed images too, and drops those whose content is not what
their digest says: the next pull fetches them again, and pushed images that need
them are named, to be pushed again. Ctrl-C ends it with a
summary of what it found so far.

It needs REGISTRYDIR and the other settings of the cache, and its user. The cache
may be running, and its pulls go on.

Sizes are a number and a unit: 5G is 5*10^9 bytes, 5GiB is 5*2^30.

Exit code 1 means that not all could be done, or that --verify found something,
2 that the configuration can't be used.`,
		Example: `  registry-cache clean --dry-run
  registry-cache clean --to 5GiB
  registry-cache clean --verify --rate 200MiB
  podman exec registry-cache /registry-cache clean --dry-run --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return clean(cmd, &f) },
	}
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "show what would go and why, and change nothing")
	cmd.Flags().Var(&f.to, "to", "clean to this size now, such as 5GiB, whatever the settings call for; 0 is all that may go")
	cmd.Flags().BoolVar(&f.verify, "verify", false, "read the blobs and drop the bad ones")
	cmd.Flags().Var(&f.rate, "rate", "how much --verify reads a second, such as 200MiB; off is as fast as it goes")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	return cmd
}

func clean(cmd *cobra.Command, f *cleanFlags) error {
	switch {
	case f.rate.given && !f.verify:
		return errors.New("--rate is how fast --verify reads; give both")
	case f.to.given && f.verify:
		return errors.New("--to removes what was used longest ago, and --verify what is bad; give one of them")
	}
	cfg, err := config.Load(os.Environ())
	if err != nil {
		return err
	}
	store, err := storeToClean(cfg.StoreDir, f)
	if err != nil {
		return err
	}
	if f.verify {
		return verifyStores(cmd, store, images.HostedDir(cfg.StoreDir), f)
	}
	return cleanStore(cmd, store, cfg.Cleaner, f)
}

// storeToClean opens the store, which must be there.
func storeToClean(dir string, f *cleanFlags) (*images.Store, error) {
	store, err := images.OpenExisting(dir)
	if err != nil {
		return nil, fmt.Errorf("%w; set REGISTRYDIR to where the cache keeps its data", err)
	}
	switch err := store.Writable(); {
	case errors.Is(err, images.ErrNoStore):
		return nil, fmt.Errorf("%w; set REGISTRYDIR to where the cache keeps its data, %s has none", err, dir)
	case err != nil && !f.dryRun:
		return nil, err
	}
	return store, nil
}

// cleaned is what --json prints.
type cleaned struct {
	DryRun bool `json:"dryRun"`
	cleaner.Report
	// Error is why it ended early.
	Error string `json:"error,omitempty"`
}

func cleanStore(cmd *cobra.Command, store *images.Store, set config.Cleaner, f *cleanFlags) error {
	o := cleaner.Options{DryRun: f.dryRun}
	if f.to.given {
		o.To = &f.to.bytes
	}
	var bar *meter
	if !f.dryRun {
		bar = newMeter(cmd.ErrOrStderr(), "evicted")
		o.Progress = bar.set
	}
	report, err := cleaner.Clean(cmd.Context(), store, set, o)
	bar.end()
	switch {
	case errors.Is(err, context.Canceled):
		err = errors.New("interrupted")
	case err != nil && report.Blobs == 0:
		return err
	}
	if f.json {
		c := cleaned{DryRun: f.dryRun, Report: report}
		if err != nil {
			c.Error = err.Error()
		}
		if c.Images == nil {
			c.Images = []cleaner.Evicted{}
		}
		if err := printJSON(cmd.OutOrStdout(), c); err != nil {
			return err
		}
	} else if err := (cleanText{report, set, f}).print(cmd.OutOrStdout()); err != nil {
		return err
	}
	switch {
	case err != nil:
		return fmt.Errorf("%w; what is named above is gone", err)
	case report.Missing > 0 && !f.dryRun:
		return shortfall(report)
	}
	return nil
}

// shortfall says why less went than should have gone.
func shortfall(r cleaner.Report) error {
	var why []string
	if r.Young > 0 {
		why = append(why, sizeText(r.Young)+" landed or were used just now, so try again in a minute")
	}
	if r.Failed > 0 {
		why = append(why, fmt.Sprintf("%d could not be removed: %s", r.Failed, r.Failure))
	}
	if r.Pinned > 0 {
		why = append(why, sizeText(r.Pinned)+" are pinned")
	}
	if len(why) == 0 {
		why = append(why, "nothing is left that may go")
	}
	return fmt.Errorf("%s more should have gone: %s", sizeText(r.Missing), strings.Join(why, "; "))
}

// wantedSize is the value of a flag: a size, or a word for none.
type wantedSize struct {
	bytes int64
	text  string
	given bool
	// none is the word, which stands for 0, and noneMeans says what it does.
	none, noneMeans string
}

func (s *wantedSize) Set(text string) error {
	s.bytes, s.text, s.given = 0, strings.TrimSpace(text), true
	if strings.EqualFold(s.text, s.none) {
		return nil
	}
	bytes, err := config.ParseSize(text)
	if err != nil {
		return fmt.Errorf("%w; or %s", err, s.noneMeans)
	}
	s.bytes = bytes
	return nil
}

func (s *wantedSize) String() string { return s.text }
func (*wantedSize) Type() string     { return "SIZE" }
