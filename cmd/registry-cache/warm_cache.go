package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"registrycache/config"
	"registrycache/deploy/client"
	"registrycache/warm"
)

// warmCacheFlags say which cache it is about, and how it is reached.
type warmCacheFlags struct {
	host      string
	ca        string
	insecure  bool
	plainHTTP bool
	authFile  string
}

func (f *warmCacheFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.host, "host", "", "the cache, such as cache.local:8443 (default the one of this environment)")
	flags.StringVar(&f.ca, "ca", "", "a file with the certificates to trust besides the system's, PEM; for --host")
	flags.BoolVar(&f.insecure, "insecure", false, "do not verify the certificate of --host")
	flags.BoolVar(&f.plainHTTP, "plain-http", false, "--host is without TLS")
	flags.StringVar(&f.authFile, "authfile", "", "the file with the login for the cache (default as podman and docker have it)")
}

// connection says how to reach the cache.
func (f *warmCacheFlags) connection(environ []string) (warm.Connection, error) {
	c, err := f.address(environ)
	if err != nil {
		return warm.Connection{}, err
	}
	c.UserAgent = warmAgent()
	c.Login, err = f.login(environ, c.Host)
	return c, err
}

func (f *warmCacheFlags) address(environ []string) (warm.Connection, error) {
	if f.host == "" {
		if f.ca != "" || f.insecure || f.plainHTTP {
			return warm.Connection{}, errors.New("--ca, --insecure and --plain-http are for a cache over the network; give --host, too")
		}
		return localCache(environ)
	}
	scheme, host, hasScheme := strings.Cut(f.host, "://")
	if !hasScheme {
		scheme, host = "https", f.host
		if f.plainHTTP {
			scheme = "http"
		}
	}
	host = strings.TrimSuffix(host, "/")
	if err := client.ParseHost(host); err != nil {
		return warm.Connection{}, fmt.Errorf("--host %w", err)
	}
	c := warm.Connection{Scheme: strings.ToLower(scheme), Host: host, Proxy: http.ProxyFromEnvironment}
	switch {
	case c.Scheme != "https" && c.Scheme != "http":
		return c, fmt.Errorf("--host %q: %s:// is not how a cache is reached; write for example cache.local:8443", f.host, scheme)
	case c.Scheme == "https" && f.plainHTTP:
		return c, errors.New("--plain-http contradicts the https:// of --host; leave one of them out")
	case c.Scheme == "http" && (f.ca != "" || f.insecure):
		return c, errors.New("--ca and --insecure are for TLS, and --host is without; leave them out")
	case f.ca != "" && f.insecure:
		return c, errors.New("--ca and --insecure: give one of them")
	case c.Scheme == "http":
		return c, nil
	}
	set, err := f.trust()
	c.TLS, c.TokenTLS = set, set.Clone()
	return c, err
}

// trust is whose certificates are taken for --host.
func (f *warmCacheFlags) trust() (*tls.Config, error) {
	set := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: f.insecure}
	if f.ca == "" {
		return set, nil
	}
	content, err := os.ReadFile(f.ca)
	if err != nil {
		return set, fmt.Errorf("--ca: %w", err)
	}
	if set.RootCAs, err = x509.SystemCertPool(); err != nil {
		set.RootCAs = x509.NewCertPool() // an empty base has none
	}
	if !set.RootCAs.AppendCertsFromPEM(content) {
		return set, fmt.Errorf("--ca %s: holds no certificate; it must be PEM, with -----BEGIN CERTIFICATE-----", f.ca)
	}
	return set, nil
}

// localCache is the cache that the environment configures, on this machine: the
// proxy of the environment is for the upstreams, and not on the way to it.
func localCache(environ []string) (warm.Connection, error) {
	cfg, err := config.Load(environ)
	if err != nil {
		return warm.Connection{}, err
	}
	c := warm.Connection{Scheme: "http", Host: reachable(cfg.ListenAddr)}
	if cfg.TLS != nil {
		c.Scheme = "https"
		c.TLS, err = exactly(cfg.TLS.Cert)
	}
	return c, err
}

var errOtherCertificate = errors.New("the cache shows another certificate than the one in CERTSDIR")

// exactly trusts the one certificate that the cache on this machine has, by
// whatever name it is reached: localhost is seldom in it.
func exactly(chain []byte) (*tls.Config, error) {
	block, _ := pem.Decode(chain)
	if block == nil {
		return nil, errors.New("CERTSDIR holds no certificate") // config.Load has read one
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // in favour of what follows
		VerifyConnection: func(state tls.ConnectionState) error {
			if !bytes.Equal(state.PeerCertificates[0].Raw, block.Bytes) {
				return errOtherCertificate
			}
			return nil
		},
	}, nil
}

// explain adds what may help when the cache as a whole does not answer.
func (f *warmCacheFlags) explain(err error) error {
	var verification *tls.CertificateVerificationError
	var refusal *warm.Refusal
	hint := ""
	switch {
	case errors.Is(err, warm.ErrInterrupted), errors.As(err, &refusal): // it does answer
	case errors.As(err, &verification):
		hint = "; --ca FILE names the authority of its certificate"
	case f.host == "":
		hint = "; it must be running, and --host names one elsewhere"
	}
	return fmt.Errorf("%w%s", err, hint)
}
