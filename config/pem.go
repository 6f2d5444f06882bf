package config

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

const pemCertificate = "CERTIFICATE"

// parseCertificates reads all certificates in a PEM file. Whatever else stands
// there, a key for one, is left out.
func parseCertificates(content []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != pemCertificate {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d in the file is damaged", len(certs)+1)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("no certificate is in the file; it must hold PEM, -----BEGIN CERTIFICATE-----")
	}
	return certs, nil
}

func encodeCertificates(certs []*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: c.Raw}))
	}
	return b.Bytes()
}

// privateKeyPEM returns the first private key in a PEM file.
func privateKeyPEM(content []byte) ([]byte, error) {
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		if strings.HasPrefix(block.Type, "ENCRYPTED") || block.Headers["DEK-Info"] != "" {
			return nil, errors.New("the private key has a passphrase, which nobody is there to type; write it without one: `openssl pkey -in encrypted.key -out tls.key`")
		}
		return pem.EncodeToMemory(block), nil
	}
	return nil, errors.New("no private key is in the file; it must hold PEM, -----BEGIN PRIVATE KEY-----")
}

// readCA reads certificates to trust. It returns nil after a mistake.
func (l *loader) readCA(where, path string) []byte {
	l.watch(path)
	content, err := readFile(path)
	if err != nil {
		l.mistake(where, "%v", err)
		return nil
	}
	certs, err := parseCertificates(content)
	if err != nil {
		l.mistake(where, "%s: %v", path, err)
		return nil
	}
	return encodeCertificates(certs)
}
