package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"registrycache/config"
	"registrycache/supervisor"
	"registrycache/supervisor/idleheap"
)

func serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the cache (the default)",
		Long:  "Run the cache until SIGTERM. Settings are environment variables:\n\n" + variablesHelp(),
		Example: `  REGISTRYDIR=./data RUNDIR=./data/run registry-cache serve
  PULLSECRETPATH=./pull-secret.json registry-cache`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), cmd.OutOrStdout())
		},
	}
}

func serve(ctx context.Context, stdout io.Writer) error {
	load := func() (*config.Config, error) { return config.Load(os.Environ()) }
	cfg, err := load()
	if err != nil {
		return err
	}
	idleheap.Always() // the supervisor only looks after the processes that work
	out := logOutput(cfg.LogFormat)
	log := newLogger(out, cfg.LogLevel)
	for _, notice := range cfg.Notices {
		log.Warn().Msg(notice)
	}
	err = supervisor.Run(ctx, cfg, supervisor.Options{
		Load:      load,
		Version:   readVersion().Version,
		Log:       log,
		LogOutput: out,
		Started: func(a supervisor.Addresses) {
			announce(stdout, log, cfg, a)
		},
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// logOutput writes log lines to stderr, for a person or as they are.
func logOutput(format string) io.Writer {
	if format == config.LogFormatConsole {
		return consoleOutput(os.Stderr, paletteFor(os.Stderr, os.Getenv))
	}
	return os.Stderr
}

func newLogger(out io.Writer, level string) zerolog.Logger {
	l, err := zerolog.ParseLevel(level)
	if err != nil { // config has validated it
		l = zerolog.InfoLevel
	}
	return zerolog.New(out).Level(l).With().Timestamp().Logger()
}

// announce says that the cache is ready: a block for a person, a log line for
// a log collector.
func announce(stdout io.Writer, log zerolog.Logger, cfg *config.Config, a supervisor.Addresses) {
	if cfg.LogFormat == config.LogFormatConsole {
		_, _ = fmt.Fprint(stdout, banner(cfg, a))
		return
	}
	names := make([]string, 0, len(cfg.Upstreams))
	for _, u := range cfg.Upstreams {
		names = append(names, u.Name)
	}
	log.Info().Str("address", cacheURL(cfg, a)).Strs("upstreams", names).Str("store", cfg.StoreDir).
		Int64("max_size", cfg.Cleaner.MaxSize).Msg("registry-cache is ready")
}
