package config

import (
	"time"
)

// Config is everything an operator set, validated. It is a value: a reload
// makes a new one.
type Config struct {
	// Upstreams are sorted by Name.
	Upstreams []Upstream
	// DefaultRegistry is the Path of the upstream that answers names which
	// name none.
	DefaultRegistry string

	StoreDir    string
	RunDir      string
	ListenAddr  string
	MetricsAddr string
	AccessLog   string
	LogLevel    string
	// LogFormat is LogFormatConsole or LogFormatJSON.
	LogFormat string
	// Pprof says that profiles of all processes can be had on MetricsAddr.
	Pprof bool

	Auth ClientAuth
	// TLS is nil when CERTSDIR holds no pair.
	TLS *KeyPair

	Proxy   Proxy
	Offline bool
	Cleaner Cleaner
	// Hosted is nil when nothing can be pushed.
	Hosted *Hosted
	// Pin are the patterns of images that are never evicted: as in
	// Upstream.Repositories, but with the upstream's Path first and, if wanted,
	// a tag.
	Pin []string

	// ChildEnv is the whole environment of the child processes: the few
	// variables that Go's own packages read, as KEY=value.
	ChildEnv []string

	// Drain is how long requests in flight may take after SIGTERM.
	Drain time.Duration

	// Watch are the files a reload depends on, those that don't exist yet
	// included.
	Watch []string
	// Notices are worth telling the operator once: variables accepted but
	// ignored, plain HTTP, anonymous defaults.
	Notices []string
}

// Worker returns what the worker of one upstream is told.
func (c *Config) Worker(u Upstream) Worker {
	u.Aliases = nil // the router's alone, so that a new one needs no new worker
	return Worker{
		Upstream: u, StoreDir: c.StoreDir, Proxy: c.Proxy, Offline: c.Offline,
		MaxBlob: c.maxBlob(u), Drain: c.Drain, LogLevel: c.LogLevel, Pprof: c.Pprof,
	}
}

// maxBlob is the largest blob of an upstream that a clean leaves alone: what is
// over a limit by more than the threshold goes, whatever it is.
func (c *Config) maxBlob(u Upstream) int64 {
	limit := c.Cleaner.MaxSize
	if u.MaxSize > 0 && (limit == 0 || u.MaxSize < limit) {
		limit = u.MaxSize
	}
	return limit + limit/100*int64(c.Cleaner.ThresholdPercent)
}

// Router returns what the router is told.
func (c *Config) Router() Router {
	r := Router{
		StoreDir: c.StoreDir, AccessLog: c.AccessLog, LogLevel: c.LogLevel, Pprof: c.Pprof,
		DefaultRoute: c.DefaultRegistry, Auth: c.Auth, TLS: c.TLS,
		StatusSocket: c.Socket("status"),
	}
	for _, u := range c.Upstreams {
		r.Routes = append(r.Routes, Route{
			Path: u.Path, Name: u.Name, Aliases: u.Aliases, Library: u.Library(),
			Socket: c.Socket("worker-" + u.Path),
		})
	}
	if h := c.Hosted; h != nil {
		r.Routes = append(r.Routes, Route{
			Path: h.Prefix, Name: h.Prefix, Socket: c.HostedSocket(), Hosted: true, Push: h.Push,
		})
	}
	return r
}

// HostedWorker returns what the worker of Hosted is told.
func (c *Config) HostedWorker() HostedWorker {
	return HostedWorker{
		StoreDir: c.StoreDir, Prefix: c.Hosted.Prefix,
		Drain: c.Drain, LogLevel: c.LogLevel, Pprof: c.Pprof,
	}
}

// HostedSocket is the path of the socket of the worker of Hosted. It has the
// prefix in it, so that a worker for another prefix can begin before the former
// one has ended.
func (c *Config) HostedSocket() string { return c.Socket("hosted-" + c.Hosted.Prefix) }

// Logger returns what the logger is told.
func (c *Config) Logger() Logger {
	return Logger{StoreDir: c.StoreDir, AccessLog: c.AccessLog, LogLevel: c.LogLevel, Pprof: c.Pprof}
}
