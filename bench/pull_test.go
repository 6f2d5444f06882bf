package bench

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// pull does what podman does for a new image: ping, manifest by tag, config,
// then all layers at once (it would fetch up to six), each checked against its
// digest. It returns how long that took.
func (s *server) pull(img image) (time.Duration, error) {
	transport := &http.Transport{TLSClientConfig: s.tls.Clone(), DisableCompression: true}
	defer transport.CloseIdleConnections()
	p := puller{server: s, client: &http.Client{Transport: transport}}
	start := time.Now()
	if err := p.fetch("/v2/", ""); err != nil {
		return 0, err
	}
	if err := p.fetch(s.path("manifests", tag), img.manifest.digest); err != nil {
		return 0, err
	}
	if err := p.fetch(s.path("blobs", img.config.digest), img.config.digest); err != nil {
		return 0, err
	}
	var layers errgroup.Group
	for _, l := range img.layers {
		layers.Go(func() error { return p.fetch(s.path("blobs", l.digest), l.digest) })
	}
	err := layers.Wait()
	return time.Since(start), err
}

type puller struct {
	server *server
	client *http.Client
}

// fetch reads and checks an object; without a digest it is only read.
func (p puller) fetch(path, digest string) error {
	r, err := http.NewRequest(http.MethodGet, p.server.url(path), nil)
	if err != nil {
		return err
	}
	r.Header["Accept"] = accepted
	if user, password, found := strings.Cut(p.server.login, ":"); found {
		r.SetBasicAuth(user, password)
	}
	response, err := p.client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body)
		return fmt.Errorf("GET %s: %s: %s", path, response.Status, text)
	}
	hash := sha256.New()
	n, err := io.CopyBuffer(onlyWriter{hash}, response.Body, make([]byte, lineBody))
	if err != nil {
		return fmt.Errorf("GET %s, after %d bytes: %w", path, n, err)
	}
	if got := digestOf(hash.Sum(nil)); digest != "" && got != digest {
		return errors.New("GET " + path + ": the content is " + got)
	}
	return nil
}
