package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"registrycache/config"
	"registrycache/deploy/client"
)

// clientConfigFlags are those that all kinds share.
type clientConfigFlags struct {
	host     string
	insecure bool
	output   string
	only     string
}

func clientConfigCommand() *cobra.Command {
	f := &clientConfigFlags{}
	cmd := &cobra.Command{
		Use:   "client-config KIND --host HOST:PORT",
		Short: "Print the files that make clients use the cache",
		Long: `Print the files that make clients use the cache, for all upstreams that are
configured. --host is the cache as its clients reach it.

Clients verify the cache's certificate. For a try without one there is
--insecure: then clients use plain HTTP when the cache has no certificate in
CERTSDIR, and else accept whatever certificate it shows.

Several YAML files are printed as one stream, for kubectl and oc; other files
one after the other below a line with their names. --only picks one of them, and
--output DIR writes them below a directory.`,
		Example: strings.Join(clientConfigExamples(), "\n"),
		Args:    cobra.ArbitraryArgs,
		// What a mistyped KIND's flags are can't be known: the KIND is the mistake.
		FParseErrWhitelist: cobra.FParseErrWhitelist{UnknownFlags: true},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("KIND is missing; there are " + kindNames(cmd))
			}
			var names []string
			for _, kind := range cmd.Commands() {
				names = append(names, kind.Name())
			}
			hint := ""
			if near := config.Nearest(args[0], names, min(3, len(args[0])/2)); near != "" {
				hint = fmt.Sprintf(" (did you mean %s?)", near)
			}
			return fmt.Errorf("there is no KIND %q%s; there are %s", args[0], hint, kindNames(cmd))
		},
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&f.host, "host", "", "the cache as clients reach it, such as cache.local:8443")
	flags.BoolVar(&f.insecure, "insecure", false, "clients do not verify the cache")
	flags.StringVarP(&f.output, "output", "o", "", "write the files below this directory")
	flags.StringVar(&f.only, "only", "", "this file alone")
	for _, kind := range clientKinds {
		cmd.AddCommand(kind.command(f))
	}
	return cmd
}

func kindNames(cmd *cobra.Command) string {
	var names []string
	for _, kind := range cmd.Commands() {
		names = append(names, kind.Name())
	}
	return strings.Join(names, ", ")
}

// clientKind is one KIND of client-config.
type clientKind struct {
	name, short, long string
	examples          []string
	// prepare adds flags of its own and returns what makes the files.
	prepare func(*cobra.Command) clientMaker
}

// clientMaker makes the files of a kind.
type clientMaker func(*clientRequest) ([]client.File, error)

// clientRequest is what a maker may look at.
type clientRequest struct {
	cmd   *cobra.Command
	cfg   *config.Config
	cache client.Cache
}

// note tells the operator what the files don't.
func (r *clientRequest) note(format string, args ...any) {
	_, _ = fmt.Fprintf(r.cmd.ErrOrStderr(), "note: "+format+"\n", args...)
}

func clientConfigExamples() []string {
	var all []string
	for _, kind := range clientKinds {
		all = append(all, kind.example())
	}
	return all
}

func (k clientKind) example() string {
	return "  registry-cache client-config " + strings.Join(k.examples, "\n  registry-cache client-config ")
}

func (k clientKind) command(f *clientConfigFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use: k.name + " --host HOST:PORT [flags]", Short: k.short, Long: k.long, Example: k.example(), Args: cobra.NoArgs,
		DisableFlagsInUseLine: true,
	}
	render := k.prepare(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		request, err := f.request(cmd)
		if err != nil {
			return err
		}
		files, err := render(request)
		if err != nil {
			return err
		}
		return f.deliver(cmd, files)
	}
	return cmd
}

func (f *clientConfigFlags) request(cmd *cobra.Command) (*clientRequest, error) {
	if !cmd.Flags().Changed("host") {
		return nil, errors.New("--host is missing: the cache as clients reach it, such as --host cache.local:8443")
	}
	if err := client.ParseHost(f.host); err != nil {
		return nil, fmt.Errorf("--host %w", err)
	}
	cfg, err := config.Load(os.Environ())
	if err != nil {
		return nil, err
	}
	r := &clientRequest{cmd: cmd, cfg: cfg, cache: client.Cache{Host: f.host, DefaultPath: cfg.DefaultRegistry}}
	for _, u := range cfg.Upstreams {
		r.cache.Upstreams = append(r.cache.Upstreams, client.Upstream{Name: u.Name, Path: u.Path})
	}
	switch {
	case f.insecure && cfg.TLS == nil:
		r.cache.Security = client.Plain
	case f.insecure:
		r.cache.Security = client.Unverified
	case cfg.TLS == nil:
		r.note("CERTSDIR has no certificate here; a cache without one needs clients that are told --insecure")
	}
	return r, nil
}

func (f *clientConfigFlags) deliver(cmd *cobra.Command, files []client.File) error {
	if f.only != "" {
		var names []string
		for _, file := range files {
			names = append(names, file.Name)
		}
		i := slices.Index(names, f.only)
		if i < 0 {
			return fmt.Errorf("--only %s: there is no such file; there are %s", f.only, strings.Join(names, ", "))
		}
		files = files[i : i+1]
	}
	if f.output == "" {
		return client.Print(cmd.OutOrStdout(), files)
	}
	paths, err := client.Save(f.output, files)
	for _, path := range paths {
		_, _ = fmt.Fprintln(cmd.OutOrStdout(), "wrote "+path)
	}
	return err
}
