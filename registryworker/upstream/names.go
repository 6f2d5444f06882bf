package upstream

import (
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"
)

// The forms of the distribution specification ("Pulling manifests").
var (
	repositoryName = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagName        = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

const maxRepositoryName = 255

// These refuse what would make another request than the one meant. Clients'
// input was checked long before; this is the last door.

func checkRepository(repo string) error {
	if len(repo) > maxRepositoryName || !repositoryName.MatchString(repo) {
		return invalid("not a repository name: want lower-case parts such as org/app, at most %d characters", maxRepositoryName)
	}
	return nil
}

func checkReference(repo, ref string) error {
	if isDigest(ref) {
		return checkDigest(repo, digest.Digest(ref))
	}
	if !tagName.MatchString(ref) {
		return invalid("not a tag: want letters, digits, '_', '.', '-', at most 128 characters")
	}
	return checkRepository(repo)
}

func checkDigest(repo string, d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return invalid("not a digest (%w): want one such as sha256:<64 hex digits>", err)
	}
	return checkRepository(repo)
}

// isDigest tells a digest from a tag, which can't have a colon.
func isDigest(ref string) bool { return strings.Contains(ref, ":") }
