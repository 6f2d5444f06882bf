package client

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"path"
	"strings"
)

// CA makes the files that let clients trust the cache: a ConfigMap for
// additionalTrustedCA of OpenShift, and the layout of /etc/containers/certs.d
// and /etc/docker/certs.d. ca is what TrustAnchors returned.
func CA(c Cache, ca []byte) ([]File, error) {
	if err := c.needsDNSName(); err != nil {
		return nil, err
	}
	// A ConfigMap's keys can't have a colon, so OpenShift reads two dots as one.
	key := strings.Replace(c.Host, ":", "..", 1)
	configMap, err := yamlFile("configmap.yaml", "Then name it to the cluster:\n"+
		"oc patch image.config.openshift.io/cluster --type=merge \\\n"+
		`  -p '{"spec":{"additionalTrustedCA":{"name":"`+caName+`"}}}'`+"\n", struct {
		object `yaml:",inline"`
		Data   map[string]string `yaml:"data"`
	}{
		object{"v1", "ConfigMap", metadata{Name: caName, Namespace: "openshift-config"}},
		map[string]string{key: string(ca)},
	})
	return []File{configMap, {Name: path.Join("certs.d", c.Host, "ca.crt"), Content: ca}}, err
}

const caName = objectName + "-ca"

// TrustAnchors picks from a chain of PEM certificates those that clients must
// trust: the CAs, or the certificate itself when it signed itself.
func TrustAnchors(chain []byte) ([]byte, error) {
	certs, err := certificates(chain)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, cert := range certs {
		if selfSigned := bytes.Equal(cert.RawIssuer, cert.RawSubject); cert.IsCA || selfSigned {
			if err := pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}); err != nil {
				return nil, err
			}
		}
	}
	if b.Len() == 0 {
		return nil, fmt.Errorf("the certificate of %s was issued by %s, whose own certificate is not there",
			certs[0].Subject, certs[0].Issuer)
	}
	return b.Bytes(), nil
}

// CheckName says what is wrong when the first certificate of a chain is not for
// the host by which clients know the cache.
func CheckName(c Cache, chain []byte) error {
	certs, err := certificates(chain)
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(c.Host)
	if err != nil {
		host = c.Host
	}
	return certs[0].VerifyHostname(strings.Trim(host, "[]"))
}

func certificates(content []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for rest := content; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, errors.New("no certificate is in it; write PEM, that begins with -----BEGIN CERTIFICATE-----")
	}
	return certs, nil
}
