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
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	resp, err := askCache(ctx, listenAddr, "/healthz")
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// direct goes to a cache: a proxy in the environment is for upstreams.
var direct = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// askCache asks the cache whose METRICS_ADDR is addr, and takes no answer but
// 200.
func askCache(ctx context.Context, addr, path string) (*http.Response, error) {
	url, err := adminURL(addr, path)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := direct.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return resp, nil
}

// adminURL is where a cache that listens on addr answers for path, from this
// machine.
func adminURL(addr, path string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port) + path, nil
}
