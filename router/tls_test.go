package router

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/config"
)

// pair makes a self-signed certificate with a name to tell it by.
func pair(t *testing.T, name string) *config.KeyPair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return &config.KeyPair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  config.Secret(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})),
	}
}

// trusting makes a client that opens a connection of its own.
func (c *cache) trusting(pair *config.KeyPair) *http.Client {
	c.t.Helper()
	roots := x509.NewCertPool()
	require.True(c.t, roots.AppendCertsFromPEM(pair.Cert))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	c.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// ping returns the name in the certificate that answers, or an error.
func (c *cache) ping(client *http.Client) (string, error) {
	response, err := client.Get("https://" + c.address() + "/v2/")
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(io.Discard, response.Body)
	assert.Equal(c.t, http.StatusOK, response.StatusCode)
	assert.Equal(c.t, "HTTP/1.1", response.Proto)
	return response.TLS.PeerCertificates[0].Subject.CommonName, err
}

func TestTLS(t *testing.T) {
	c := newCache(t)
	c.settings.TLS = pair(t, "first")
	c.start()
	name, err := c.ping(c.trusting(c.settings.TLS))
	require.NoError(t, err)
	assert.Equal(t, "first", name)

	_, err = tls.Dial("tcp", c.address(), &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11, InsecureSkipVerify: true})
	assert.ErrorContains(t, err, "protocol version")

	response, body := c.raw("GET /v2/ HTTP/1.1\r\nHost: cache\r\n\r\n")
	assert.Equal(t, http.StatusBadRequest, response.StatusCode)
	assert.Contains(t, body, "HTTP request to an HTTPS server")
	assert.NotContains(t, c.log.String(), "warn", "strangers can't fill the log")
}

func TestTLSPairIsSwappedInPlace(t *testing.T) {
	c := newCache(t)
	first, second := pair(t, "first"), pair(t, "second")
	c.settings.TLS = first
	c.start()
	before := c.trusting(first)
	_, err := c.ping(before)
	require.NoError(t, err)

	c.update(func(s *config.Router) { s.TLS = second })
	name, err := c.ping(c.trusting(second))
	require.NoError(t, err)
	assert.Equal(t, "second", name)
	name, err = c.ping(before)
	require.NoError(t, err, "open connections go on")
	assert.Equal(t, "first", name)

	broken := &config.KeyPair{Cert: first.Cert, Key: second.Key}
	c.update(func(s *config.Router) { s.TLS = broken })
	assert.Contains(t, c.log.String(), "TLS certificate and key")
	name, err = c.ping(c.trusting(second))
	require.NoError(t, err)
	assert.Equal(t, "second", name)

	c.update(func(s *config.Router) { s.TLS = nil })
	response, _ := c.get("/v2/")
	assert.Equal(t, http.StatusOK, response.StatusCode, "plain HTTP")
	c.client.CloseIdleConnections()
	c.update(func(s *config.Router) { s.TLS = first })
	_, err = c.ping(c.trusting(first))
	require.NoError(t, err)
}

func TestHandoffOverTLS(t *testing.T) {
	c := newCache(t)
	c.settings.TLS = pair(t, "cache")
	d := c.blob("content")
	c.worker("quay.io", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Accel-Redirect", d.String()) })
	c.start()
	response, err := c.trusting(c.settings.TLS).Get("https://" + c.address() + "/v2/quay.io/a/blobs/" + d.String())
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	assert.Equal(t, "content", string(body))
}

func TestSlowHandshakeIsCut(t *testing.T) {
	c := newCache(t)
	c.settings.TLS = pair(t, "cache")
	c.tune.readHeaderTimeout = 20 * time.Millisecond
	c.start()
	_, err := bufio.NewReader(c.dial()).ReadByte()
	assert.ErrorIs(t, err, io.EOF)
}

func TestBrokenSettingsAtStartAreAnError(t *testing.T) {
	c := newCache(t)
	c.settings.TLS = &config.KeyPair{Cert: []byte("x"), Key: "y"}
	err := Run(t.Context(), c.settings, nil, c.listener, testLogger(c), c.metrics, func() { t.Error("not ready") })
	assert.ErrorContains(t, err, "TLS certificate and key")
}
