package config

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestChildEnv(t *testing.T) {
	s := newSite(t)
	s.env["SSL_CERT_FILE"] = "/certs/ca.pem"
	s.env["GODEBUG"] = ""
	s.env["HTTPS_PROXY"] = "http://user:hunter2@proxy:3128"
	s.env["PATH"] = "/bin"
	assert.Equal(t, []string{"GODEBUG=", "SSL_CERT_FILE=/certs/ca.pem"}, s.load().ChildEnv)
	assert.Empty(t, newSite(t).load().ChildEnv)
}
