package tally

import (
	"net/http"
	"strings"
	"time"

	"registrycache/logger/accesslog"
	"registrycache/logger/generations"
)

const (
	// samePull is how far the requests for the manifests of one pull may be
	// apart.
	samePull = time.Minute
	// maxAsking bounds the clients times repositories of the pulls under way,
	// some 400 bytes each, in two halves.
	maxAsking = 2048
	// signatureTag begins the tags of signatures, attestations and lists of
	// referrers, which are no images and come with one.
	signatureTag = "sha256-"
)

// pulls tells the pulls of images from the requests for manifests. A client
// that pulls an index asks for it by tag or digest, and then for the manifest
// of its platform by digest; containerd and dockerd ask for the digest of the
// tag first, by HEAD. All that is one pull, of what was asked for first.
type pulls struct {
	listed func(index, manifest string) bool
	asking *generations.Map[asker, asked]
}

// asker is a client in a repository.
type asker struct{ host, repository string }

// asked is what it asked for last by name.
type asked struct {
	at     time.Time
	tag    string // empty when by digest
	digest string
	// counted says that it is known to be a pull; it is not as long as nothing
	// but the digest was asked for.
	counted bool
}

func newPulls(listed func(index, manifest string) bool) *pulls {
	return &pulls{listed: listed, asking: generations.New[asker, asked](maxAsking)}
}

// pull says whether the record begins the pull of an image.
func (p *pulls) pull(r accesslog.Record) (n name, ok bool) {
	if r.Kind != "manifests" || r.Status != http.StatusOK || r.Reference == "" {
		return n, false
	}
	by := asker{hostOf(r.RemoteAddr), r.Repository}
	before, known := p.asking.Get(by)
	if known && r.Time.Sub(before.at).Abs() > samePull {
		known = false
	}
	n = name{r.Repository, r.Reference}
	now := asked{at: r.Time, digest: r.Digest, counted: true}
	switch tag := !isDigest(r.Reference); {
	case tag && strings.HasPrefix(r.Reference, signatureTag):
		return n, false
	case r.Method == http.MethodHead:
		if !tag || known && before.counted && before.digest == r.Digest {
			return n, false
		}
		now.tag, now.counted = r.Reference, false
	case r.Method != http.MethodGet:
		return n, false
	case tag:
		now.tag = r.Reference
	case known && p.belongs(r.Reference, before):
		now.tag, now.digest = before.tag, before.digest
		p.asking.Put(by, now, 1)
		return name{r.Repository, before.tag}, !before.counted
	default:
		now.digest = r.Reference
	}
	p.asking.Put(by, now, 1)
	return n, now.counted
}

// belongs says whether a digest is what was asked for before by tag, or what
// that lists. Who asked for a digest and asks again pulls again.
func (p *pulls) belongs(digest string, before asked) bool {
	if digest == before.digest {
		return before.tag != ""
	}
	return p.listed(before.digest, digest)
}

// hostOf is the address without its port.
func hostOf(remote string) string {
	if i := strings.LastIndexByte(remote, ':'); i >= 0 {
		return remote[:i]
	}
	return remote
}
