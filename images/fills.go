package images

import (
	"path/filepath"

	"github.com/opencontainers/go-digest"
)

// Fills returns the digests that have a FillDir, running or abandoned.
func (s *Store) Fills() ([]digest.Digest, error) {
	root := filepath.Join(s.root, "fills")
	algorithms, err := subdirs(root)
	if err != nil {
		return nil, err
	}
	var list []digest.Digest
	for _, alg := range algorithms {
		names, err := subdirs(filepath.Join(root, alg))
		if err != nil {
			return nil, err
		}
		for _, hex := range names {
			if isDigest(alg, hex) {
				list = append(list, digest.NewDigestFromEncoded(digest.Algorithm(alg), hex))
			}
		}
	}
	return list, nil
}
