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

// start are its first two bytes.
func (k key) start() int { return int(k[0])<<8 | int(k[1]) }

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
	if !ok || encoded == "" || len(encoded) != hexDigits(alg) {
		return k, false
	}
	invalid := byte(0)
	for i := range k {
		high, low := nibbles[encoded[2*i]], nibbles[encoded[2*i+1]]
		invalid |= high | low
		k[i] = high<<4 | low
	}
	return k, invalid <= 0xf && isHex(encoded[2*len(k):])
}

// isDigest is digest.Algorithm.Validate without its regular expression, which
// takes longer than to read the directory entry.
func isDigest(alg, encoded string) bool {
	return len(encoded) > 0 && len(encoded) == hexDigits(alg) && isHex(encoded)
}

// hexDigits is how many a digest of the algorithm has; 0 if it is not known.
func hexDigits(alg string) int {
	switch a := digest.Algorithm(alg); a {
	case digest.SHA256, digest.SHA384, digest.SHA512:
		return 2 * a.Size()
	}
	return 0
}

func isHex(s string) bool {
	invalid := byte(0)
	for i := range len(s) {
		invalid |= nibbles[s[i]]
	}
	return invalid <= 0xf
}

// nibbles are the values of hexadecimal digits, in lower case as digests have
// them, and more than four bits for all else.
var nibbles = func() (table [256]byte) {
	for c := range table {
		table[c] = 0xff
		if i := strings.IndexByte("0123456789abcdef", byte(c)); i >= 0 {
			table[c] = byte(i)
		}
	}
	return table
}()
