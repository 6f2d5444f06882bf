package config

import (
	"reflect"
	"time"
)

// The formats of the log.
const (
	LogFormatConsole = "console"
	LogFormatJSON    = "json"
)

// settings is the one table of all variables: name, default and meaning. A
// variable without a meaning is another spelling of one that has it.
type settings struct {
	PullSecret       location  `env:"PULLSECRETPATH" envDefault:"/pull-secret.json" meaning:"Kubernetes or Docker auth file; one worker for each host in auths. Absent at the default place: docker.io, quay.io, ghcr.io, gcr.io, registry.k8s.io, mcr.microsoft.com, public.ecr.aws and registry.access.redhat.com, anonymous"`
	IgnoreRegistries string    `env:"IGNOREREGISTRYLIST" envDefault:"cloud.openshift.com" meaning:"space-separated hosts or keys of the pull secret to skip"`
	ConfigFile       location  `env:"CONFIG_FILE" envDefault:"/etc/registry-cache/config.yaml" meaning:"optional settings for each upstream, YAML"`
	StoreDir         location  `env:"REGISTRYDIR" envDefault:"/var/lib/registry" meaning:"the store"`
	RunDir           location  `env:"RUNDIR" envDefault:"/run/registry-cache" meaning:"sockets"`
	ListenAddr       address   `env:"LISTEN_ADDR" envDefault:":8443" meaning:"TLS if CERTSDIR holds a pair, else plain HTTP"`
	CertsDir         location  `env:"CERTSDIR" envDefault:"/certs" meaning:"certs.pem, or tls.crt and tls.key, or domain.crt and domain.key"`
	Auth             authType  `env:"REGISTRY_AUTH" envDefault:"" shown:"none" meaning:"client authentication: none, htpasswd or token"`
	HtpasswdRealm    string    `env:"REGISTRY_AUTH_HTPASSWD_REALM" envDefault:"registry-cache" meaning:"the realm shown to clients"`
	HtpasswdPath     location  `env:"REGISTRY_AUTH_HTPASSWD_PATH" meaning:"the htpasswd file, bcrypt only"`
	TokenRealm       string    `env:"REGISTRY_AUTH_TOKEN_REALM" meaning:"URL of the token server"`
	TokenService     string    `env:"REGISTRY_AUTH_TOKEN_SERVICE" meaning:"the service that tokens must be for"`
	TokenIssuer      string    `env:"REGISTRY_AUTH_TOKEN_ISSUER" meaning:"the issuer that tokens must be from"`
	TokenRootCerts   location  `env:"REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE" meaning:"PEM file with the certificates that sign tokens"`
	TokenJWKS        location  `env:"REGISTRY_AUTH_TOKEN_JWKS" meaning:"JSON Web Key Set file with the keys that sign tokens"`
	TokenAlgorithms  string    `env:"REGISTRY_AUTH_TOKEN_SIGNINGALGORITHMS" shown:"all" meaning:"signing algorithms accepted, such as ES256,RS256"`
	TokenRedirect    flag      `env:"REGISTRY_AUTH_TOKEN_AUTOREDIRECT" envDefault:"false" meaning:"send clients to AUTOREDIRECTPATH on the host they asked, instead of the realm"`
	TokenRedirectTo  string    `env:"REGISTRY_AUTH_TOKEN_AUTOREDIRECTPATH" envDefault:"/auth/token" meaning:"the path for AUTOREDIRECT"`
	DefaultRegistry  string    `env:"DEFAULT_REGISTRY" envDefault:"docker.io" meaning:"who answers a name that names no upstream"`
	TagMaxAge        duration  `env:"TAG_MAX_AGE" envDefault:"0s" meaning:"how long a checked tag is trusted without asking"`
	TagStaleIfError  staleness `env:"TAG_STALE_IF_ERROR" envDefault:"always" meaning:"how old a known tag may be when the upstream fails: a duration, or always"`
	Offline          flag      `env:"OFFLINE" envDefault:"false" meaning:"serve only what is cached, ask no upstream"`
	MaxSize          size      `env:"CLEANER_MAXSIZE" envDefault:"10G" meaning:"what a clean goes down to; 10G is 10^10 bytes, 10GiB is 10*2^30"`
	Threshold        percent   `env:"CLEANER_THRESHOLD_PERCENTAGE" envDefault:"20" meaning:"a clean starts when the store is so much over CLEANER_MAXSIZE"`
	RunEvery         interval  `env:"CLEANER_RUNEVERY_TIME" envDefault:"30m" meaning:"how often to look"`
	MinFree          freeSpace `env:"CLEANER_MIN_FREE" envDefault:"5%" meaning:"also clean when the disk has less free: a size, a percentage, or off"`
	MaxAge           oldest    `env:"CLEANER_MAXAGE" envDefault:"off" meaning:"also evict what nobody used for so long"`
	AccessLog        location  `env:"ACCESS_LOG" shown:"$RUNDIR/log/access.log" meaning:"one JSON line for each request"`
	MetricsAddr      address   `env:"METRICS_ADDR" envDefault:":9090" meaning:"/metrics, /healthz, /readyz, /status"`
	Pprof            flag      `env:"PPROF" envDefault:"false" meaning:"profiles of all processes on METRICS_ADDR, below /debug/pprof/, for go tool pprof"`
	LogLevel         logLevel  `env:"LOG_LEVEL" envDefault:"info" meaning:"trace, debug, info, warn, error, fatal, panic or disabled"`
	LogFormat        logFormat `env:"LOG_FORMAT" shown:"console on a terminal, else json" meaning:"console or json"`
	HTTPProxy        Secret    `env:"HTTP_PROXY" meaning:"towards upstreams with http:// addresses; in either case; http, https, socks5 or socks5h"`
	HTTPSProxy       Secret    `env:"HTTPS_PROXY" meaning:"towards upstreams with https:// addresses; the same"`
	NoProxy          string    `env:"NO_PROXY" meaning:"comma-separated hosts, domains and networks to reach without a proxy"`
	HTTPProxyLower   Secret    `env:"http_proxy"`
	HTTPSProxyLower  Secret    `env:"https_proxy"`
	NoProxyLower     string    `env:"no_proxy"`
	BetweenDeletes   string    `env:"CLEANER_BTWDELETES_TIME" meaning:"accepted for compatibility, ignored with a notice"`
	InitialPort      string    `env:"INITIALPORT" meaning:"accepted for compatibility, ignored with a notice"`
}

// Variable describes one environment variable to an operator.
type Variable struct {
	Name string
	// Default is what holds when the variable is unset or empty; "" is nothing.
	Default string
	Meaning string
}

// Describe lists every variable that Load reads, in the order of the README.
func Describe() []Variable {
	var list []Variable
	for _, f := range reflect.VisibleFields(reflect.TypeFor[settings]()) {
		v := Variable{Name: f.Tag.Get("env"), Default: f.Tag.Get("envDefault"), Meaning: f.Tag.Get("meaning")}
		if v.Default == "" {
			v.Default = f.Tag.Get("shown")
		}
		if v.Meaning != "" {
			list = append(list, v)
		}
	}
	return list
}

// variableNames lists every variable, other spellings included.
func variableNames() []string {
	var names []string
	for _, f := range reflect.VisibleFields(reflect.TypeFor[settings]()) {
		names = append(names, f.Tag.Get("env"))
	}
	return names
}

// The types of settings that are more than a text. settingParsers has the
// function that reads each.
type (
	location  string
	address   string
	authType  string
	logLevel  string
	logFormat string
	flag      bool
	percent   int
	size      int64
	duration  time.Duration
	interval  time.Duration
	staleness time.Duration
	oldest    time.Duration
)
