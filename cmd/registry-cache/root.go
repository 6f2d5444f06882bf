package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"registrycache/config"
)

func rootCommand() *cobra.Command {
	serve := serveCommand()
	root := &cobra.Command{
		Use:   "registry-cache",
		Short: "Cache every container registry your site pulls from",
		Long: `registry-cache caches every container registry your site pulls from:

  podman pull cache.local:8443/quay.io/podman/hello

fetches from quay.io once; from then on it is served from local disk, also
while quay.io is slow, rate-limited or down. Without a command it serves.`,
		Example:       serve.Example,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          serve.RunE,
	}
	root.AddCommand(serve, checkCommand(), cleanCommand(), clientConfigCommand(), healthcheckCommand(), imagesCommand(), statusCommand(), versionCommand(), warmCommand())
	root.AddCommand(roleCommands()...)
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}

// variablesHelp renders the table of environment variables for --help.
func variablesHelp() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, v := range config.Describe() {
		_, _ = fmt.Fprintf(w, "  %s\t%s\t%s\n", v.Name, v.Default, v.Meaning)
	}
	_ = w.Flush()
	return b.String()
}
