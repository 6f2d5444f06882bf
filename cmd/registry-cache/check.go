package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"registrycache/config"
	"registrycache/registryworker/upstream"
)

// checkTimeout bounds how long one upstream may take to answer.
const checkTimeout = 15 * time.Second

// checkRow is one credential of one upstream, and whether it works.
type checkRow struct {
	Upstream    string   `json:"upstream"`
	Path        string   `json:"path"`
	Aliases     []string `json:"aliases,omitempty"`
	URL         string   `json:"url"`
	Credentials string   `json:"credentials"`
	OK          *bool    `json:"ok,omitempty"`
	Error       string   `json:"error,omitempty"`
}

type checkReport struct {
	Listen    string     `json:"listen"`
	TLS       bool       `json:"tls"`
	Auth      string     `json:"auth"`
	Store     string     `json:"store"`
	Notices   []string   `json:"notices,omitempty"`
	Upstreams []checkRow `json:"upstreams"`
}

func checkCommand() *cobra.Command {
	var asJSON, local bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Validate the configuration and ask each upstream whether its credentials work",
		Long: `Validate the configuration, show what would run, and ask each upstream whether
its credentials work. Nothing is started and nothing is stored.

Exit code 2 means that the configuration can't be used, 1 that an upstream
could not be reached or refused its credentials.`,
		Example: `  PULLSECRETPATH=./pull-secret.json registry-cache check
  registry-cache check --local --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(os.Environ())
			if err != nil {
				return err
			}
			report := checkReport{
				Listen: cfg.ListenAddr, TLS: cfg.TLS != nil, Auth: cfg.Auth.Type,
				Store: cfg.StoreDir, Notices: cfg.Notices,
			}
			if local || cfg.Offline {
				report.Upstreams = describeUpstreams(cfg)
			} else {
				report.Upstreams = askUpstreams(cmd.Context(), cfg)
			}
			if asJSON {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(report)
			} else {
				err = printReport(cmd.OutOrStdout(), report)
			}
			return errors.Join(err, report.failure())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&local, "local", false, "ask no upstream")
	return cmd
}

func (r checkReport) failure() error {
	for _, row := range r.Upstreams {
		if row.OK != nil && !*row.OK {
			return errReported
		}
	}
	return nil
}

func newCheckRow(u config.Upstream, scope, username string) checkRow {
	row := checkRow{Upstream: u.Name, Path: u.Path, Aliases: u.Aliases, URL: u.URL, Credentials: "anonymous"}
	if username != "" {
		row.Credentials = username
	}
	if scope != "" {
		row.Credentials += " for " + scope
	}
	return row
}

// describeUpstreams lists the upstreams without asking them.
func describeUpstreams(cfg *config.Config) []checkRow {
	var rows []checkRow
	for _, u := range cfg.Upstreams {
		if len(u.Credentials) == 0 {
			rows = append(rows, newCheckRow(u, "", ""))
		}
		for _, c := range u.Credentials {
			rows = append(rows, newCheckRow(u, c.Scope, c.Username))
		}
	}
	return rows
}

// askUpstreams asks all upstreams at once; the rows keep their order.
func askUpstreams(ctx context.Context, cfg *config.Config) []checkRow {
	results := make([][]checkRow, len(cfg.Upstreams))
	var wg sync.WaitGroup
	for i, u := range cfg.Upstreams {
		wg.Go(func() { results[i] = askUpstream(ctx, u, cfg.Proxy) })
	}
	wg.Wait()
	var rows []checkRow
	for _, r := range results {
		rows = append(rows, r...)
	}
	return rows
}

func askUpstream(ctx context.Context, u config.Upstream, proxy config.Proxy) []checkRow {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	failed := func(err error) []checkRow {
		row := newCheckRow(u, "", "")
		row.setResult(err)
		return []checkRow{row}
	}
	client, err := upstream.New(u, upstream.Options{
		Proxy: proxy, Log: zerolog.Nop(), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		return failed(err)
	}
	defer client.Close()
	var rows []checkRow
	for _, c := range client.Check(ctx) {
		row := newCheckRow(u, c.Scope, c.Username)
		row.setResult(c.Err)
		rows = append(rows, row)
	}
	return rows
}

func (r *checkRow) setResult(err error) {
	ok := err == nil
	r.OK = &ok
	if err != nil {
		r.Error = err.Error()
	}
}

func printReport(out io.Writer, r checkReport) error {
	for _, n := range r.Notices {
		if _, err := fmt.Fprintln(out, "note: "+n); err != nil {
			return err
		}
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "UPSTREAM\tADDRESSED AS\tURL\tCREDENTIALS\tRESULT")
	for _, row := range r.Upstreams {
		result := "not asked"
		switch {
		case row.OK != nil && *row.OK:
			result = "ok"
		case row.OK != nil:
			result = "FAILED: " + row.Error
		}
		names := strings.Join(append([]string{row.Path}, row.Aliases...), ", ")
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", row.Upstream, names, row.URL, row.Credentials, result)
	}
	return w.Flush()
}
