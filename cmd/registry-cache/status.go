package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"registrycache/config"
	"registrycache/status"
)

// statusTimeout bounds one question. The cache waits a second at most for a
// process that hangs.
const statusTimeout = 5 * time.Second

// statusFlags are those of the command status.
type statusFlags struct {
	watch, json bool
	address     string
}

func statusCommand() *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the running cache is doing",
		Long: `Show how the running cache is doing: its upstreams, what clients pulled and
what that saved, the store and the next clean, transfers under way, its
processes, and the last problems in its log.

It asks METRICS_ADDR of the cache on this machine; --address asks another one.
HITS are the answers that were here already, and SAVED their bytes, which the
upstream was not asked for. MEMORY is resident, with what processes share.

Exit code 1 means that the cache can't be reached or serves no pulls, 0 that it
does, if only in part.`,
		Example: `  registry-cache status
  registry-cache status --watch
  registry-cache status --address cache.local:9090
  podman exec registry-cache /registry-cache status
  registry-cache status --json | jq -r '.upstreams[] | select(.state == "failing") | .name'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.address == "" {
				addr, err := config.MetricsAddr(os.Environ())
				if err != nil {
					return err
				}
				f.address = addr
			}
			if _, err := adminURL(f.address, status.Path); err != nil {
				return fmt.Errorf("--address %s: write host:port, such as cache.local:9090", f.address)
			}
			if f.watch {
				return watchStatus(cmd.Context(), f, cmd.OutOrStdout(), cmd.ErrOrStderr(), watchEvery)
			}
			return showStatus(cmd.Context(), f, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&f.watch, "watch", false, "show it every 2 seconds, until Ctrl-C")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON, with --watch an object a line")
	cmd.Flags().StringVar(&f.address, "address", "", "METRICS_ADDR of another cache, as `HOST:PORT`")
	return cmd
}

func showStatus(ctx context.Context, f statusFlags, out io.Writer) error {
	report, err := askStatus(ctx, f.address)
	if err != nil {
		return err
	}
	text := report.text()
	if f.json {
		text = report.line
	}
	if _, err := out.Write(text); err != nil {
		return err
	}
	return report.failure()
}

// statusReport is what a cache answered.
type statusReport struct {
	status.Document
	// line is the answer itself, with what this program may not know of.
	line []byte
}

// failure says that the cache serves no pulls, which what was printed has told.
func (r statusReport) failure() error {
	if r.State == "ok" || r.State == "degraded" {
		return nil
	}
	return errReported
}

// askStatus asks the cache whose METRICS_ADDR is addr.
func askStatus(ctx context.Context, addr string) (r statusReport, err error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	resp, err := askCache(ctx, addr, status.Path)
	if err != nil {
		return r, unreachable(addr, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return r, unreachable(addr, err)
	}
	var line bytes.Buffer
	if json.Unmarshal(body, &r.Document) != nil || json.Compact(&line, body) != nil || r.State == "" {
		return r, unreachable(addr, errors.New("what answers is something else"))
	}
	r.line = append(line.Bytes(), '\n')
	return r, nil
}

// unreachable says what was tried, and what to try.
func unreachable(addr string, err error) error {
	var request *url.Error // whose text has the whole URL again
	if errors.As(err, &request) {
		return fmt.Errorf("no registry-cache answers at METRICS_ADDR, %s: %w; is it running? --address HOST:PORT asks another one", addr, request.Err)
	}
	return fmt.Errorf("no registry-cache tells its state at %s: %w; --address wants METRICS_ADDR, not where clients pull", addr, err)
}
