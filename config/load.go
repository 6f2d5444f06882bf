package config

import (
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/caarlos0/env/v11"
	"github.com/mattn/go-isatty"
)

// drainTime is how long requests in flight may take after SIGTERM.
const drainTime = 30 * time.Second

// tinyStore is the size below which CLEANER_MAXSIZE lacks its unit, most likely.
const tinyStore = 1_000_000

// loader makes one Config.
type loader struct {
	findings
	env map[string]string
	set settings
	cfg *Config
}

// Load reads the configuration that environ, in the form of os.Environ, and
// the files it names describe. It returns an *InvalidError with every mistake
// found. It changes nothing, on disk or elsewhere.
func Load(environ []string) (*Config, error) {
	l := &loader{env: env.ToMap(environ), cfg: &Config{Drain: drainTime}}
	l.readEnvironment()
	l.applySettings()
	l.loadUpstreams()
	l.loadCertificates()
	l.loadClientAuth()
	l.loadProxy()
	if err := l.err(); err != nil {
		return nil, err
	}
	l.cfg.Notices = l.notices
	return l.cfg, nil
}

// applySettings copies what needs no file, and checks what only makes sense
// together.
func (l *loader) applySettings() {
	c, s := l.cfg, &l.set
	c.StoreDir, c.RunDir = string(s.StoreDir), string(s.RunDir)
	c.ListenAddr, c.MetricsAddr = string(s.ListenAddr), string(s.MetricsAddr)
	c.LogLevel, c.LogFormat = string(s.LogLevel), string(s.LogFormat)
	if c.LogFormat == "" {
		c.LogFormat = LogFormatJSON
		if isatty.IsTerminal(os.Stderr.Fd()) {
			c.LogFormat = LogFormatConsole
		}
	}
	c.AccessLog = string(s.AccessLog)
	if c.AccessLog == "" {
		c.AccessLog = filepath.Join(c.RunDir, "log", "access.log")
	}
	c.Offline, c.Pprof = bool(s.Offline), bool(s.Pprof)
	c.ChildEnv = childEnv(l.env)
	c.Cleaner = Cleaner{
		StoreDir: c.StoreDir, LogLevel: c.LogLevel, Pprof: c.Pprof,
		MaxSize: int64(s.MaxSize), ThresholdPercent: int(s.Threshold), RunEvery: time.Duration(s.RunEvery),
		MinFreeBytes: s.MinFree.bytes, MinFreePercent: s.MinFree.percent, MaxAge: time.Duration(s.MaxAge),
	}
	l.checkDirectory("REGISTRYDIR", c.StoreDir)
	l.checkDirectory("RUNDIR", c.RunDir)
	if longest := maxSocketPath - len("/") - hashedSocketLength; len(c.RunDir) > longest {
		l.mistake("RUNDIR", "%s is too long for the address of a unix socket; use a path of at most %d bytes", c.RunDir, longest)
	}
	if info, err := os.Stat(c.AccessLog); err == nil && info.IsDir() {
		l.mistake("ACCESS_LOG", "%s is a directory; name a file, such as %s", c.AccessLog, filepath.Join(c.AccessLog, "access.log"))
	}
	if sameListenAddress(c.ListenAddr, c.MetricsAddr) {
		l.mistake("METRICS_ADDR", "%s can't be listened on beside LISTEN_ADDR %s; use another port", c.MetricsAddr, c.ListenAddr)
	}
	if c.Cleaner.MaxSize > 0 && c.Cleaner.MaxSize < tinyStore {
		l.notice("CLEANER_MAXSIZE is %d bytes, so next to nothing stays cached; sizes have a unit, such as 10G", c.Cleaner.MaxSize)
	}
}

// watch adds a file to those whose change is a reason to load again.
func (l *loader) watch(path string) {
	if path != "" && !slices.Contains(l.cfg.Watch, path) {
		l.cfg.Watch = append(l.cfg.Watch, path)
	}
}
