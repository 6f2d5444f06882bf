package images

import (
	"bytes"
	"encoding/hex"
	"strings"

	"github.com/opencontainers/go-digest"
)

// key stands for a digest in an eighth of the memory: the first 32 bytes of
// the hash, which is all of SHA-256.
type key [32]byte

func (k key) compare(other key) int { return bytes.Compare(k[:], other[:]) }

// keys turns digests into keys and back.
type keys struct {
	// longer has the digests that are more than their key.
	longer map[key]digest.Digest
}

func (t *keys) digest(k key) digest.Digest {
	if d, ok := t.longer[k]; ok {
		return d
	}
	return digest.NewDigestFromEncoded(digest.SHA256, hex.EncodeToString(k[:]))
}

// has says whether the key, which some blob has, is that of d.
func (t *keys) has(k key, d digest.Digest) bool {
	if longer, ok := t.longer[k]; ok {
		return longer == d
	}
	return strings.HasPrefix(string(d), string(digest.SHA256)+":")
}

// keyOf returns the key of a digest; none of what is no digest.
func keyOf(d digest.Digest) (k key, ok bool) {
	alg, encoded, ok := strings.Cut(string(d), ":")
	if !ok || !isDigest(alg, encoded) {
		return k, false
	}
	_, err := hex.Decode(k[:], []byte(encoded[:2*len(k)]))
	return k, err == nil
}

// isDigest is digest.Algorithm.Validate without its regular expression, which
// takes longer than to read the directory entry.
func isDigest(alg, encoded string) bool {
	switch a := digest.Algorithm(alg); a {
	case digest.SHA256, digest.SHA384, digest.SHA512:
		if len(encoded) != 2*a.Size() {
			return false
		}
	default:
		return false
	}
	for _, c := range []byte(encoded) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
