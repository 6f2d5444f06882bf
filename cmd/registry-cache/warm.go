package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/hashicorp/go-multierror"
	"github.com/spf13/cobra"

	"registrycache/config"
	"registrycache/warm"
)

// warmFlags are those of the command warm.
type warmFlags struct {
	files        []string
	platforms    []string
	allPlatforms bool
	jobs         int
	cache        warmCacheFlags
	dryRun       bool
	quiet        bool
	json         bool
}

func warmCommand() *cobra.Command {
	f := &warmFlags{}
	cmd := &cobra.Command{
		Use:   "warm IMAGE... | -f FILE",
		Short: "Have the cache fetch images before anybody pulls them",
		Long: `Have a running cache fetch images before anybody pulls them.

The images are named as for podman pull, or by the URL of their manifest. FILE is
a list of them: one a line, empty lines and # comments do not count. It may be -
for standard input, or the http:// or https:// URL of a list.

Of an image for several platforms, that of this machine is fetched, or those of
--platform. An image that the cache has is not fetched again, so that to run the
command again is to resume it.

It speaks to the cache of this environment: LISTEN_ADDR and CERTSDIR say where
that is. --host names another one, over the network; its certificate is verified.
Only what tells how far it is comes over that connection, not the images.

A cache that wants a login gets that of podman login or docker login for its
address, or of --authfile.

Exit code 1 means that not all images are in the cache now, 2 that the arguments,
a list or the configuration can't be used; then nothing was fetched.`,
		Example: `  registry-cache warm quay.io/podman/hello:latest registry.k8s.io/pause:3.10
  registry-cache warm -f images.txt --platform linux/amd64,linux/arm64
  registry-cache warm -f images.txt --dry-run
  oc adm release info --pullspecs | grep -o 'quay.io/[^ ]*' | registry-cache warm -f - --host cache.local:8443 --ca ca.pem
  podman exec registry-cache /registry-cache warm quay.io/podman/hello`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return runWarm(cmd, args, f) },
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &argumentError{err} })
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.files, "file", "f", nil, "a list of images: a file, - for standard input, or a URL; may be given several times")
	flags.StringSliceVar(&f.platforms, "platform", nil, "os/architecture[/variant], such as linux/arm64; several with commas (default this machine's)")
	flags.BoolVar(&f.allPlatforms, "all-platforms", false, "all platforms of every image, attestations included")
	flags.IntVarP(&f.jobs, "jobs", "j", warm.DefaultJobs, "how many blobs are fetched at once")
	f.cache.register(flags)
	flags.BoolVar(&f.dryRun, "dry-run", false, "show what would be fetched, and fetch no layers; manifests are cached")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "show the summary alone")
	flags.BoolVar(&f.json, "json", false, "print the summary as JSON")
	return cmd
}

// argumentError is a mistake in what the command was told: exit code 2.
type argumentError struct{ error }

func (e *argumentError) Unwrap() error { return e.error }

// maxJobs keeps a slip of the finger from being a flood.
const maxJobs = 64

// options checks the flags that say what is done.
func (f *warmFlags) options() (warm.Options, error) {
	o := warm.Options{Jobs: f.jobs, DryRun: f.dryRun}
	var mistakes *multierror.Error
	if f.jobs < 1 || f.jobs > maxJobs {
		mistakes = multierror.Append(mistakes, fmt.Errorf("--jobs %d: write a number from 1 to %d", f.jobs, maxJobs))
	}
	switch {
	case f.allPlatforms && len(f.platforms) > 0:
		mistakes = multierror.Append(mistakes, errors.New("--all-platforms and --platform: give one of them"))
	case f.allPlatforms:
	case len(f.platforms) == 0:
		o.Platforms = []warm.Platform{warm.ThisMachine()}
	}
	for _, text := range f.platforms {
		p, err := warm.ParsePlatform(text)
		if err != nil {
			mistakes = multierror.Append(mistakes, fmt.Errorf("--platform: %w", err))
			continue
		}
		o.Platforms = append(o.Platforms, p)
	}
	return o, mistakes.ErrorOrNil()
}

func runWarm(cmd *cobra.Command, args []string, f *warmFlags) error {
	options, mistakes := f.options()
	connection, err := f.cache.connection(os.Environ())
	var invalid *config.InvalidError
	if errors.As(err, &invalid) {
		return err
	}
	all := multierror.Append(nil, mistakes, err)
	images, err := f.images(cmd, args, connection.Host)
	all = multierror.Append(all, err)
	if len(all.Errors) > 0 {
		all.ErrorFormat = config.ErrorFormat
		return &argumentError{all}
	}

	cache := warm.Connect(connection)
	defer cache.Close()
	progress := f.progress(cmd)
	options.Watcher = progress
	report, err := warm.Run(cmd.Context(), cache, images, options)
	progress.end()
	if err != nil {
		return f.cache.explain(err)
	}
	summary := warmSummary{report: report, cache: cache.URL(), dryRun: f.dryRun}
	out := cmd.OutOrStdout()
	if f.json {
		err = printJSON(out, summary.json())
	} else {
		err = summary.table(out)
	}
	if err != nil {
		return err
	}
	if report.Failed() > 0 {
		return errReported // the summary says which and why
	}
	return nil
}

// progress is who shows how far it is, on standard error.
func (f *warmFlags) progress(cmd *cobra.Command) warmProgress {
	if f.quiet {
		return quietProgress{}
	}
	to := cmd.ErrOrStderr()
	if screen, ok := to.(*os.File); ok && isScreen(screen) {
		return newWarmBars(screen)
	}
	return newWarmLines(to)
}

// warmProgress is a Watcher that draws until its end.
type warmProgress interface {
	warm.Watcher
	end()
}

type quietProgress struct{ warm.Unwatched }

func (quietProgress) end() {}
