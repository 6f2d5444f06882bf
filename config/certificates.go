package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// certForms are the files in which a certificate and its key are looked for;
// the first form of which anything is there counts.
var certForms = []struct{ cert, key string }{
	{"certs.pem", "certs.pem"},
	{"tls.crt", "tls.key"},
	{"domain.crt", "domain.key"},
}

// expirySoon is when to speak of a certificate that will expire.
const expirySoon = 14 * 24 * time.Hour

// loadCertificates sets TLS from the files in CERTSDIR.
func (l *loader) loadCertificates() {
	dir := string(l.set.CertsDir)
	l.checkDirectory("CERTSDIR", dir)
	var found []string // the certificate files, by form
	for _, form := range certForms {
		cert, key := filepath.Join(dir, form.cert), filepath.Join(dir, form.key)
		l.watch(cert)
		l.watch(key)
		if !exists(cert) && !exists(key) {
			continue
		}
		if found = append(found, form.cert); len(found) == 1 {
			l.loadKeyPair(cert, key)
		}
	}
	switch {
	case len(found) == 0:
		l.notice("clients are served over plain HTTP, since CERTSDIR %s holds neither certs.pem, nor tls.crt and tls.key, nor domain.crt and domain.key", dir)
	case len(found) > 1:
		l.notice("CERTSDIR %s holds several certificates; %s is used, and not %s", dir, found[0], strings.Join(found[1:], ", "))
	}
}

// exists is also true for what may not be looked at: reading it will say so.
func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR)
}

func (l *loader) loadKeyPair(certFile, keyFile string) {
	certContent, err := readFile(certFile)
	if err != nil {
		l.mistake("CERTSDIR", "%v", halfPair(err, keyFile))
		return
	}
	keyContent := certContent
	if keyFile != certFile {
		if keyContent, err = readFile(keyFile); err != nil {
			l.mistake("CERTSDIR", "%v", halfPair(err, certFile))
			return
		}
	}
	chain, err := parseCertificates(certContent)
	if err != nil {
		l.mistake(certFile, "%v", err)
		return
	}
	key, err := privateKeyPEM(keyContent)
	if err != nil {
		l.mistake(keyFile, "%v", err)
		return
	}
	pair := &KeyPair{Cert: encodeCertificates(chain), Key: Secret(key)}
	if _, err := tls.X509KeyPair(pair.Cert, key); err != nil {
		l.mistake(keyFile, "%v", pairError(err, certFile))
		return
	}
	l.cfg.TLS = pair
	l.checkServerCertificate(certFile, chain[0])
}

// halfPair explains a missing file by the one that is there.
func halfPair(err error, other string) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w, but %s does; put both there", err, other)
	}
	return err
}

// pairError explains why tls.X509KeyPair refused a pair. The certificate has
// been parsed before, so it is either the key, or that the two don't match.
func pairError(err error, certFile string) error {
	if strings.Contains(err.Error(), "match") {
		return fmt.Errorf("the private key does not belong to the first certificate in %s; the server's own certificate comes first, then the intermediate ones", certFile)
	}
	return errors.New("the private key is damaged or of a kind that TLS can't use; use RSA, ECDSA or Ed25519")
}

// checkServerCertificate gives notice of what makes clients refuse a
// certificate that could be used otherwise.
func (l *loader) checkServerCertificate(file string, c *x509.Certificate) {
	now := time.Now()
	switch {
	case now.After(c.NotAfter):
		l.notice("%s: the certificate expired on %s, so clients refuse it", file, c.NotAfter.Format(time.DateOnly))
	case now.Before(c.NotBefore):
		l.notice("%s: the certificate is not valid before %s, so clients refuse it", file, c.NotBefore.Format(time.DateTime))
	case c.NotAfter.Sub(now) < expirySoon:
		l.notice("%s: the certificate expires on %s", file, c.NotAfter.Format(time.DateOnly))
	}
	if len(c.DNSNames) == 0 && len(c.IPAddresses) == 0 {
		l.notice("%s: the certificate names no host as subjectAltName, so clients refuse it", file)
	}
}
