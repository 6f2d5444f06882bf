package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"registrycache/config"
)

// healthcheckTimeout keeps the answer within the three seconds that container
// engines give a health check by default.
const healthcheckTimeout = 2 * time.Second

// healthcheckCommand is what the image's HEALTHCHECK runs: there is no shell
// and no curl on the empty base.
func healthcheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "healthcheck",
		Short:   "Exit 0 if the cache running here is alive",
		Example: "  registry-cache healthcheck",
		Hidden:  true,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			addr, err := config.MetricsAddr(os.Environ())
			if err != nil {
				return err
			}
			return healthcheck(cmd.Context(), addr)
		},
	}
}

func healthcheck(ctx context.Context, listenAddr string) error {
	host, port, err := net.SplitHostPort(listenAddr)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	url := "http://" + net.JoinHostPort(host, port) + "/healthz"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}
