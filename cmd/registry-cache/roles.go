package main

import (
	"context"

	"github.com/spf13/cobra"

	"registrycache/cleaner"
	"registrycache/config"
	"registrycache/logger"
	"registrycache/registryworker"
	"registrycache/registryworker/hosted"
	"registrycache/router"
	"registrycache/supervisor/child"
)

// roleCommands are the commands the supervisor starts its children with. They
// need the file descriptors that only it hands down, so they are hidden.
func roleCommands() []*cobra.Command {
	return []*cobra.Command{
		roleCommand("worker UPSTREAM", cobra.ExactArgs(1), runWorker),
		roleCommand("hosted", cobra.NoArgs, runHosted),
		roleCommand("router", cobra.NoArgs, runRouter),
		roleCommand("logger", cobra.NoArgs, runLogger),
		roleCommand("cleaner", cobra.NoArgs, runCleaner),
	}
}

func roleCommand(use string, args cobra.PositionalArgs, run func() error) *cobra.Command {
	return &cobra.Command{
		Use: use, Hidden: true, Args: args,
		RunE: func(*cobra.Command, []string) error { return run() },
	}
}

func runWorker() error {
	return child.Run("worker", func(ctx context.Context, p *child.Process, s config.Worker, _ <-chan config.Worker) error {
		return registryworker.Run(ctx, s, p.Listener, p.Log, p.Registry, p.ReadyBut, p.Tell)
	})
}

func runHosted() error {
	return child.Run("hosted", func(ctx context.Context, p *child.Process, s config.HostedWorker, _ <-chan config.HostedWorker) error {
		return hosted.Run(ctx, s, p.Listener, p.Log, p.Ready, p.Tell)
	})
}

func runRouter() error {
	return child.Run("router", func(ctx context.Context, p *child.Process, s config.Router, updates <-chan config.Router) error {
		return router.Run(ctx, s, updates, p.Listener, p.Log, p.Registry, p.Ready)
	})
}

func runLogger() error {
	return child.Run("logger", func(ctx context.Context, p *child.Process, s config.Logger, _ <-chan config.Logger) error {
		return logger.Run(ctx, s, p.Log, p.Registry, p.Ready, p.Tell)
	})
}

func runCleaner() error {
	return child.Run("cleaner", func(ctx context.Context, p *child.Process, s config.Cleaner, updates <-chan config.Cleaner) error {
		return cleaner.Run(ctx, s, updates, p.Log, p.Registry, p.Ready, p.Tell)
	})
}
