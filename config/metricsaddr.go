package config

import (
	"fmt"

	"github.com/caarlos0/env/v11"
)

// MetricsAddr returns METRICS_ADDR alone, so that a health check does not fail
// for a mistake made in another setting since the start.
func MetricsAddr(environ []string) (string, error) {
	const name = "METRICS_ADDR"
	addr := env.ToMap(environ)[name]
	if addr == "" {
		addr = defaultOf(name)
	}
	addr, err := parseListenAddress(addr)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return addr, nil
}

func defaultOf(name string) string {
	for _, v := range Describe() {
		if v.Name == name {
			return v.Default
		}
	}
	return ""
}
