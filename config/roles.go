package config

import (
	"math"
	"time"
)

// Always is a maximum age that is never reached.
const Always = time.Duration(math.MaxInt64)

// DockerHub is the host name under which Docker Hub is configured and cached;
// its API is served by another host, registry-1.docker.io.
const DockerHub = "docker.io"

// Upstream is one registry that the cache pulls from, with the credentials
// for it and no other.
type Upstream struct {
	// Name is the registry's host, or host:port, as clients know it.
	Name string
	// Path is the first part of the repository names on the wire and on disk:
	// Name, with the colon of a port replaced by an underscore.
	Path string
	// URL is the base address of its API, without /v2/.
	URL     string
	Aliases []string
	// Credentials are ordered longest Scope first; empty means anonymous.
	Credentials []Credential
	// CA holds PEM certificates trusted besides the system's.
	CA                 []byte
	InsecureSkipVerify bool
	// TokenRealms are further hosts that may receive the credentials when a
	// Bearer challenge names them as its realm.
	TokenRealms []string
	// Repositories are the patterns (path.Match, or a trailing /* for any
	// depth) that may be pulled; empty allows all.
	Repositories []string
	TagMaxAge    time.Duration
	// StaleIfError is how old a known tag may be when the upstream fails
	// (RFC 5861 section 4), or Always.
	StaleIfError time.Duration
	// StaleWhileRevalidate is for how long after TagMaxAge a tag is answered at
	// once and checked behind the client's back (RFC 5861 section 3).
	StaleWhileRevalidate time.Duration
	// IdleTimeout is how long a transfer may be without a byte before it is
	// taken up anew; 0 is the default of the package that transfers.
	IdleTimeout time.Duration
	// ParallelFrom is the size in bytes from which on a blob is fetched over
	// several connections, and Connections how many; 0 is the default.
	ParallelFrom int64
	Connections  int
	// MaxSize is a quota in bytes; 0 is none.
	MaxSize int64
}

// Library says whether repository names of one part gain "library/".
func (u *Upstream) Library() bool { return u.Name == DockerHub }

// Credential is what one key of the pull secret holds.
type Credential struct {
	// Scope is the repository prefix the credential is for ("org" or
	// "org/repo"); empty is the whole registry.
	Scope         string
	Username      string
	Password      Secret
	IdentityToken Secret
}

// Proxy is how upstreams are reached, in the meaning of
// golang.org/x/net/http/httpproxy. The URLs may hold a password.
type Proxy struct {
	HTTP    Secret
	HTTPS   Secret
	NoProxy string
}

// Worker is all that the worker process of one upstream is told.
type Worker struct {
	Upstream Upstream
	StoreDir string
	Proxy    Proxy
	Offline  bool
	// MaxBlob is the size in bytes above which a blob is not kept, since a clean
	// would take it away again; 0 is none.
	MaxBlob int64
	// Drain is how long requests in flight may take once the worker was told to
	// end.
	Drain    time.Duration
	LogLevel string
	// Pprof says that the process gives its profiles to the supervisor.
	Pprof bool
}

// Router is all that the router process is told. It has no credentials of
// any upstream.
type Router struct {
	StoreDir  string
	AccessLog string
	LogLevel  string
	Pprof     bool
	// Routes are the upstreams that can be addressed.
	Routes []Route
	// DefaultRoute is the Path of the upstream that answers names without one.
	// It may name an upstream that is not configured.
	DefaultRoute string
	Auth         ClientAuth
	// TLS is nil for plain HTTP.
	TLS *KeyPair
	// StatusSocket is the path of the unix socket where the supervisor gives
	// the state of the whole cache.
	StatusSocket string
}

// Route tells the router how one upstream is addressed and reached.
type Route struct {
	Path    string
	Name    string
	Aliases []string
	// Library says that names of one part gain "library/".
	Library bool
	// Socket is the path of the worker's unix socket.
	Socket string
	// Hosted says that this is no upstream: what it has was pushed to it.
	Hosted bool
	// Push are the users who may push to a Hosted route; empty is everyone who
	// may pull.
	Push []string
}

// Hosted is the part of the name space that images are pushed to.
type Hosted struct {
	// Prefix is the first part of the names of pushed images.
	Prefix string
	// Push are the users who may push; empty is everyone who is authenticated.
	Push []string
}

// HostedWorker is all that the process is told that keeps what is pushed.
type HostedWorker struct {
	// StoreDir is that of the whole cache.
	StoreDir string
	Prefix   string
	Drain    time.Duration
	LogLevel string
	Pprof    bool
}

// KeyPair is a TLS certificate chain and its key, PEM.
type KeyPair struct {
	Cert []byte
	Key  Secret
}

// ClientAuth is how clients of the cache are authenticated, in the terms of
// distribution's auth section. Type is "", AuthHtpasswd or AuthToken.
type ClientAuth struct {
	Type string
	// Realm is the htpasswd realm shown in the Basic challenge.
	Realm string
	// Htpasswd is the content of the htpasswd file, already validated.
	Htpasswd Secret
	// Token holds the parameters of distribution's token controller as texts;
	// TokenOptions gives them their types.
	Token map[string]string
}

// Logger is all that the logger process is told.
type Logger struct {
	StoreDir  string
	AccessLog string
	LogLevel  string
	Pprof     bool
}

// Cleaner is all that the cleaner process is told.
type Cleaner struct {
	StoreDir string
	// MaxSize is the size in bytes a clean ends at or below.
	MaxSize int64
	// ThresholdPercent is how far over MaxSize the store may grow before a
	// clean starts.
	ThresholdPercent int
	RunEvery         time.Duration
	// MinFreeBytes and MinFreePercent are the free disk space below which a
	// clean starts; at most one of them is not 0.
	MinFreeBytes   int64
	MinFreePercent float64
	// MaxAge evicts what nobody used for so long; 0 is never.
	MaxAge time.Duration
	// Quotas are sorted by Path.
	Quotas []Quota
	// Pins are patterns of names that are never evicted: path.Match, or a
	// trailing /* for any depth, with the Path of the upstream first and, if
	// wanted, a tag or a pattern of tags after a colon.
	Pins     []string
	LogLevel string
	Pprof    bool
}
