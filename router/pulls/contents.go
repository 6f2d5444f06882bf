package pulls

import (
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"

	"registrycache/images"
)

// maxContents bounds the memory of a manifest's contents. No image has as many
// layers, and no index that people pull as many platforms.
const maxContents = 512

// Contents are the digests that a manifest lists, as the starts of their
// hashes: who confuses two makes a mistake in a line of the log.
type Contents struct {
	of   string
	keys []uint64
}

// ContentsOf reads a manifest. It returns nil for what is none, or lists too
// much to be remembered.
func ContentsOf(d string, manifest []byte) *Contents {
	doc, err := images.ParseManifest(manifest)
	if err != nil || d == "" {
		return nil
	}
	needs := doc.Needs()
	n := len(needs.Manifests) + len(needs.Blobs)
	if n > maxContents {
		return nil
	}
	c := &Contents{of: d, keys: make([]uint64, 0, n)}
	for _, list := range [...][]digest.Digest{needs.Manifests, needs.Blobs} {
		for _, d := range list {
			c.keys = append(c.keys, keyOf(string(d)))
		}
	}
	return c
}

func (c *Contents) lists(key uint64) bool { return slices.Contains(c.keys, key) }

// keyOf is the start of a valid digest's hash.
func keyOf(d string) uint64 {
	_, hash, _ := strings.Cut(d, ":")
	key, _ := strconv.ParseUint(hash[:min(len(hash), 16)], 16, 64)
	return key
}
