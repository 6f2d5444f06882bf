package client

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// issued is a certificate and its key.
type issued struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// issue makes a certificate, by itself or by another.
func issue(t *testing.T, name string, isCA bool, by *issued) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: isCA,
	}
	i := &issued{key: key}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	require.NoError(t, err)
	i.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	i.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return i
}

func TestTrustAnchors(t *testing.T) {
	root := issue(t, "root", true, nil)
	leaf := issue(t, "cache.local", false, root)
	alone := issue(t, "cache.local", false, nil)
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")})

	anchors, err := TrustAnchors(append(append(append([]byte{}, leaf.pem...), key...), root.pem...))
	require.NoError(t, err)
	require.Equal(t, string(root.pem), string(anchors), "neither the leaf nor a key")
	anchors, err = TrustAnchors(alone.pem)
	require.NoError(t, err)
	require.Equal(t, string(alone.pem), string(anchors), "it signed itself")
	_, err = TrustAnchors(leaf.pem)
	require.ErrorContains(t, err, "issued by CN=root")
	_, err = TrustAnchors(key)
	require.ErrorContains(t, err, "no certificate")
	_, err = TrustAnchors(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))
	require.Error(t, err)

	require.NoError(t, CheckName(site(), leaf.pem))
	other := site()
	other.Host = "other.local"
	require.ErrorContains(t, CheckName(other, leaf.pem), "cache.local")
}

func TestCA(t *testing.T) {
	root := issue(t, "root", true, nil)
	files, err := CA(site(), root.pem)
	require.NoError(t, err)
	require.Len(t, files, 2)
	doc := document(t, files[0])
	require.Empty(t, conforms(t, doc))
	require.Equal(t, map[string]any{"cache.local..8443": string(root.pem)}, doc["data"])
	require.Equal(t, "openshift-config", doc["metadata"].(map[string]any)["namespace"])
	require.Equal(t, "certs.d/cache.local:8443/ca.crt", files[1].Name)
	require.Equal(t, root.pem, files[1].Content)
}
