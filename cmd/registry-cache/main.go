// Command registry-cache caches every container registry a site pulls from.
// It is started once, as the supervisor, and starts itself again in other
// roles, each a process of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"registrycache/config"
)

// Exit codes: 1 is a failure while running, 2 a configuration, or arguments,
// that can't be used, as documented in the README.
const (
	exitFailure = 1
	exitConfig  = 2
)

func main() {
	// Samples of what is allocated are for profiles, which are taken on demand.
	runtime.MemProfileRate = 0
	// So that lines of several processes can be put in order.
	zerolog.TimeFieldFormat = time.RFC3339Nano
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := rootCommand().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	if !errors.Is(err, errReported) {
		fmt.Fprintln(os.Stderr, "registry-cache: "+err.Error())
	}
	var invalid *config.InvalidError
	var argument *argumentError
	if errors.As(err, &invalid) || errors.As(err, &argument) {
		os.Exit(exitConfig)
	}
	os.Exit(exitFailure)
}

// errReported ends the command with exit code 1 without another word, for
// commands whose output has already said what is wrong.
var errReported = errors.New("already reported")
