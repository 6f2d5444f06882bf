package config

// inherited are the variables that children get of the environment, because
// packages outside this project read them themselves: crypto/x509 where the
// certificate authorities are, the Go runtime how to collect garbage and what
// to print in a crash, package time how to show times.
var inherited = []string{
	"GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GOTRACEBACK", "SSL_CERT_DIR", "SSL_CERT_FILE", "TZ",
}

// childEnv returns the environment of the child processes, sorted. All else
// that they are told comes with their settings.
func childEnv(env map[string]string) []string {
	var list []string
	for _, name := range inherited {
		if value, set := env[name]; set {
			list = append(list, name+"="+value)
		}
	}
	return list
}
