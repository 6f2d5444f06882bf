package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"registrycache/images"
)

// verifiedStore is what --json prints of clean --verify.
type verifiedStore struct {
	DryRun bool `json:"dryRun"`
	images.Verified
	// PushAgain are images that no upstream has.
	PushAgain []string      `json:"pushAgain,omitempty"`
	Took      time.Duration `json:"tookNanoseconds"`
}

// verifyStores reads all blobs, what was pushed included, drops the bad, and
// says which these were.
func verifyStores(cmd *cobra.Command, cached *images.Store, pushedDir string, f *cleanFlags) error {
	start := time.Now()
	found, err := verifyStore(cmd, cached, "verified", f)
	if err != nil {
		return err
	}
	if !f.dryRun {
		cached.CountRemoved(found.Removed)
	}
	result := verifiedStore{DryRun: f.dryRun, Verified: found}
	pushed, err := images.OpenExisting(pushedDir)
	if err == nil && found.Left == 0 { // else it was interrupted
		if found, err = verifyStore(cmd, pushed, "verified of pushed images", f); err == nil {
			result.addPushed(found)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	result.Took = time.Since(start)
	if result.Bad == nil {
		result.Bad = []images.BadBlob{}
	}
	if f.json {
		err = printJSON(cmd.OutOrStdout(), result)
	} else {
		err = result.print(cmd.OutOrStdout())
	}
	return errors.Join(err, result.failure())
}

// verifyStore reads the blobs of one store.
func verifyStore(cmd *cobra.Command, store *images.Store, what string, f *cleanFlags) (images.Verified, error) {
	inventory, err := store.Take(cmd.Context())
	if err != nil {
		return images.Verified{}, err
	}
	bar := newMeter(cmd.ErrOrStderr(), what)
	o := images.Verifying{
		Rate: f.rate.bytes, DryRun: f.dryRun, Progress: &images.VerifyProgress{},
		Found: func(b images.BadBlob) { bar.say("bad: " + badText(b)) },
	}
	stopShowing := showProgress(bar, o.Progress, inventory)
	found, err := inventory.Verify(cmd.Context(), o)
	stopShowing()
	if err == nil && !f.dryRun {
		// What was found is told all the same.
		if notKept := store.RememberVerify(found, time.Now()); notKept != nil {
			bar.say("the metrics won't show this verify: " + notKept.Error())
		}
	}
	bar.end()
	return found, err
}

// addPushed adds what was found in the store of pushed images.
func (v *verifiedStore) addPushed(found images.Verified) {
	v.Blobs += found.Blobs
	v.Bytes += found.Bytes
	v.Left += found.Left
	v.Used += found.Used
	v.Removed += found.Removed
	v.Bad = append(v.Bad, found.Bad...)
	v.Failed = append(v.Failed, found.Failed...)
	for _, b := range found.Bad {
		v.PushAgain = append(v.PushAgain, b.Images...)
	}
	slices.Sort(v.PushAgain)
	v.PushAgain = slices.Compact(v.PushAgain)
}

// showProgress shows how far a verify is until it is told to stop.
func showProgress(m *meter, p *images.VerifyProgress, v *images.Inventory) (stop func()) {
	all := int64(0)
	for _, b := range v.Blobs {
		all += b.Allocated
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			m.set(p.Bytes.Load(), all)
			select {
			case <-done:
				m.set(p.Bytes.Load(), all)
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(done); <-ended }
}

func badText(b images.BadBlob) string {
	text := b.Digest.String() + ", needed by " + neededBy(b)
	if !b.Dropped {
		return text
	}
	return text + "; dropped"
}

// maxNeeding is how many images a line names.
const maxNeeding = 5

func neededBy(b images.BadBlob) string {
	if len(b.Images) == 0 {
		return "no image"
	}
	text := strings.Join(b.Images[:min(len(b.Images), maxNeeding)], ", ")
	if more := len(b.Images) - maxNeeding; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

func (v verifiedStore) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(v.Bad) > 0 {
		_, _ = fmt.Fprintln(w, "BAD BLOB\tSIZE\tWHAT IT IS\tNEEDED BY")
		for _, b := range v.Bad {
			content := b.Content.String()
			if content == "" {
				content = "the disk can't read it"
			}
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", b.Digest, sizeText(b.Size), content, neededBy(b))
		}
		_, _ = fmt.Fprintln(w)
	}
	for _, f := range v.Failed {
		_, _ = fmt.Fprintf(w, "not judged\t%s: %s\n", f.Digest, f.Error)
	}
	_, _ = fmt.Fprintf(w, "verified\t%s, %s; took %s\n", counted(v.Blobs, "blob"), sizeText(v.Bytes), v.Took.Round(time.Millisecond))
	switch {
	case len(v.Bad) == 0:
		_, _ = fmt.Fprintln(w, "bad\tnone")
	case v.DryRun:
		_, _ = fmt.Fprintf(w, "bad\t%s; without --dry-run they would be dropped\n", counted(len(v.Bad), "blob"))
	default:
		_, _ = fmt.Fprintf(w, "bad\t%s, dropped: the next pull fetches them again\n", counted(len(v.Bad), "blob"))
	}
	for _, name := range v.PushAgain {
		_, _ = fmt.Fprintf(w, "push again\t%s, which no upstream has\n", name)
	}
	if v.Used > 0 {
		_, _ = fmt.Fprintf(w, "used\t%s of other users count as used now, as only those may read without that\n", counted(v.Used, "blob"))
	}
	if v.Left > 0 {
		_, _ = fmt.Fprintf(w, "left\t%s were not read\n", counted(v.Left, "blob"))
	}
	return w.Flush()
}

// failure is what the exit code tells of what print has told.
func (v verifiedStore) failure() error {
	if v.Left > 0 {
		return errors.New("interrupted; run it again to verify what is left")
	}
	if len(v.Bad)+len(v.Failed) > 0 {
		return errReported
	}
	return nil
}
