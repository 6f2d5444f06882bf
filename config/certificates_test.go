package config

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// identity is a certificate, followed by that of its issuer, and its key.
type identity struct {
	chain []*x509.Certificate
	key   *ecdsa.PrivateKey
}

// newAuthority makes a certificate that signs itself.
func newAuthority(t testing.TB) identity {
	return issue(t, nil, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })
}

func issue(t testing.TB, issuer *identity, change func(*x509.Certificate)) identity {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
	}
	if change != nil {
		change(template)
	}
	id := identity{key: key}
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.chain[0], issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	require.NoError(t, err)
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	id.chain = []*x509.Certificate{c}
	if issuer != nil {
		id.chain = append(id.chain, issuer.chain...)
	}
	return id
}

func (id identity) cert() string { return string(encodeCertificates(id.chain)) }

func (id identity) keyPEM(t testing.TB) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(id.key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func (id identity) pair(t testing.TB) []byte { return []byte(id.cert() + id.keyPEM(t)) }

func TestCertificateForms(t *testing.T) {
	authority := newAuthority(t)
	id := issue(t, &authority, nil)
	for name, files := range map[string]map[string]string{
		"certs.pem":           {"certs.pem": id.cert() + id.keyPEM(t)},
		"certs.pem key first": {"certs.pem": "# key\n" + id.keyPEM(t) + id.cert()},
		"tls":                 {"tls.crt": id.cert(), "tls.key": id.keyPEM(t)},
		"domain":              {"domain.crt": id.cert(), "domain.key": id.keyPEM(t)},
		"key in tls.crt too":  {"tls.crt": id.keyPEM(t) + id.cert(), "tls.key": id.keyPEM(t), "ca.crt": "x"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			for file, content := range files {
				s.file("certs/"+file, content)
			}
			cfg := s.load()
			require.NotNil(t, cfg.TLS)
			assert.NotContains(t, string(cfg.TLS.Cert), "PRIVATE")
			pair, err := tls.X509KeyPair(cfg.TLS.Cert, []byte(cfg.TLS.Key.Reveal()))
			require.NoError(t, err)
			assert.Len(t, pair.Certificate, 2)
			assert.Empty(t, cfg.Notices[1:], "only that docker.io is not configured")
		})
	}
}

func TestSeveralForms(t *testing.T) {
	first, second := newAuthority(t), newAuthority(t)
	s := newSite(t)
	s.file("certs/tls.crt", first.cert())
	s.file("certs/tls.key", first.keyPEM(t))
	s.file("certs/domain.crt", second.cert())
	assert.Equal(t, first.cert(), string(s.load().TLS.Cert))
	s.requireNotice("holds several certificates; tls.crt is used, and not domain.crt")
}

func TestPlainHTTP(t *testing.T) {
	s := newSite(t)
	assert.Nil(t, s.load().TLS)
	s.requireNotice("clients are served over plain HTTP, since CERTSDIR " + s.env["CERTSDIR"])
}

func TestBadCertificates(t *testing.T) {
	authority := newAuthority(t)
	id, other := issue(t, &authority, nil), newAuthority(t)
	damagedCert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))
	damagedKey := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}))
	encrypted := string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}))
	legacy := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"DEK-Info": "AES"}, Bytes: []byte("x")}))
	upsideDown := identity{chain: []*x509.Certificate{id.chain[1], id.chain[0]}}
	const mismatch = "the private key does not belong to the first certificate in certs/tls.crt; the server's own certificate comes first, then the intermediate ones"
	const passphrase = "the private key has a passphrase, which nobody is there to type; write it without one: `openssl pkey -in encrypted.key -out tls.key`"
	for name, test := range map[string]struct {
		files map[string]string
		want  string
	}{
		"no key file":       {map[string]string{"tls.crt": id.cert()}, "CERTSDIR: certs/tls.key does not exist, but certs/tls.crt does; put both there"},
		"no cert file":      {map[string]string{"domain.key": id.keyPEM(t)}, "CERTSDIR: certs/domain.crt does not exist, but certs/domain.key does; put both there"},
		"mismatch":          {map[string]string{"tls.crt": other.cert(), "tls.key": id.keyPEM(t)}, "certs/tls.key: " + mismatch},
		"issuer first":      {map[string]string{"tls.crt": upsideDown.cert(), "tls.key": id.keyPEM(t)}, "certs/tls.key: " + mismatch},
		"empty cert":        {map[string]string{"tls.crt": "", "tls.key": id.keyPEM(t)}, "certs/tls.crt: no certificate is in the file; it must hold PEM, -----BEGIN CERTIFICATE-----"},
		"empty key":         {map[string]string{"tls.crt": id.cert(), "tls.key": ""}, "certs/tls.key: no private key is in the file; it must hold PEM, -----BEGIN PRIVATE KEY-----"},
		"damaged cert":      {map[string]string{"tls.crt": id.cert() + damagedCert, "tls.key": id.keyPEM(t)}, "certs/tls.crt: certificate 3 in the file is damaged"},
		"damaged key":       {map[string]string{"tls.crt": id.cert(), "tls.key": damagedKey}, "certs/tls.key: the private key is damaged or of a kind that TLS can't use; use RSA, ECDSA or Ed25519"},
		"encrypted":         {map[string]string{"tls.crt": id.cert(), "tls.key": encrypted}, "certs/tls.key: " + passphrase},
		"encrypted, old":    {map[string]string{"tls.crt": id.cert(), "tls.key": legacy}, "certs/tls.key: " + passphrase},
		"certs.pem no key":  {map[string]string{"certs.pem": id.cert()}, "certs/certs.pem: no private key is in the file; it must hold PEM, -----BEGIN PRIVATE KEY-----"},
		"no second chances": {map[string]string{"certs.pem": "", "tls.crt": id.cert(), "tls.key": id.keyPEM(t)}, "certs/certs.pem: no certificate is in the file; it must hold PEM, -----BEGIN CERTIFICATE-----"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			for file, content := range test.files {
				s.file("certs/"+file, content)
			}
			s.requireMistakes(test.want)
		})
	}
}

func TestCertificatesThatClientsRefuse(t *testing.T) {
	for _, test := range []struct {
		change func(*x509.Certificate)
		want   string
	}{
		{func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Unix(0, 0), time.Unix(86400, 0) }, "the certificate expired on 1970-01-02, so clients refuse it"},
		{func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, "the certificate is not valid before "},
		{func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Hour) }, "the certificate expires on "},
		{func(c *x509.Certificate) { c.DNSNames = nil }, "the certificate names no host as subjectAltName, so clients refuse it"},
	} {
		s := newSite(t)
		s.file("certs/certs.pem", string(issue(t, nil, test.change).pair(t)))
		s.requireNotice("certs/certs.pem: " + test.want)
	}
}

func FuzzCertificates(f *testing.F) {
	id := newAuthority(f)
	f.Add([]byte(id.cert()), []byte(id.keyPEM(f)))
	f.Add(id.pair(f), id.pair(f))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n"), []byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, certFile, keyFile []byte) {
		chain, err := parseCertificates(certFile)
		if err != nil {
			return
		}
		encoded := encodeCertificates(chain)
		require.False(t, bytes.Contains(encoded, []byte("PRIVATE KEY")))
		key, err := privateKeyPEM(keyFile)
		if err != nil {
			return
		}
		if _, err := tls.X509KeyPair(encoded, key); err != nil {
			require.NotEmpty(t, pairError(err, "tls.crt").Error())
		}
		require.False(t, strings.Contains(string(key), "CERTIFICATE-----"))
	})
}
