package warm

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// Image is one image, or other artifact, to be brought into the cache.
type Image struct {
	// Name is how it was written, for people.
	Name string
	// Repository is by which the cache is asked for it, with the upstream as its
	// first part if the name has one. Names without are the cache's to resolve.
	Repository string
	// Reference is a tag or a digest.
	Reference string
}

// Names reads the names of images.
type Names struct {
	// Cache is the host:port of the cache. Names that begin with it, as clients
	// of the cache write them, mean what comes after.
	Cache string
}

const (
	nameExample = "write an image, such as quay.io/podman/hello:latest"
	urlExample  = "write one such as https://quay.io/v2/podman/hello/manifests/latest"
)

var errCapitals = errors.New("the repository has capitals; names are lower case, only tags may have some")

// maxShown keeps what was written by mistake from filling an error message.
const maxShown = 120

// Parse reads the name of an image as container tools write it, or the URL of
// its manifest. The error says what would be right.
func (n Names) Parse(text string) (Image, error) {
	name := text
	var err error
	if scheme, rest, isURL := strings.Cut(text, "://"); isURL {
		switch strings.ToLower(scheme) {
		case "docker":
			name = rest
		case "http", "https":
			name, err = nameOfURL(text)
		default:
			err = fmt.Errorf("%s:// is not where a registry's images are; %s", scheme, nameExample)
		}
	}
	if err != nil {
		return Image{}, wrong(text, err)
	}
	image, err := n.parseName(name)
	if err != nil {
		return Image{}, wrong(text, err)
	}
	image.Name = text
	return image, nil
}

func wrong(text string, err error) error {
	text = withoutUser(text)
	if len(text) > maxShown {
		text = text[:maxShown] + "..."
	}
	return fmt.Errorf("%q: %w", text, err)
}

// withoutUser hides what may be a password before the host of a URL.
func withoutUser(text string) string {
	scheme, rest, isURL := strings.Cut(text, "://")
	authority, _, _ := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(authority, '@'); isURL && i >= 0 {
		return scheme + "://..." + rest[i:]
	}
	return text
}

func (n Names) parseName(name string) (Image, error) {
	name = strings.TrimPrefix(name, "/")
	if n.Cache != "" && len(name) > len(n.Cache) && strings.EqualFold(name[:len(n.Cache)+1], n.Cache+"/") {
		name = name[len(n.Cache)+1:]
	}
	host, rest, more := strings.Cut(name, "/")
	isHost := more && (strings.ContainsAny(host, ".:") || strings.EqualFold(host, "localhost"))
	switch {
	case strings.HasPrefix(host, "["):
		return Image{}, errors.New("an IPv6 address can't begin a name in the cache; write the alias that CONFIG_FILE has for that upstream")
	case isHost:
		// Hosts are the same in either case, names are not.
		name = strings.ToLower(host) + "/" + rest
	}
	parsed, err := reference.Parse(name)
	if err != nil {
		return Image{}, explain(name, err)
	}
	named, ok := parsed.(reference.Named)
	if !ok {
		return Image{}, errors.New("is a digest without a name; " + nameExample)
	}
	image := Image{Repository: named.Name(), Reference: "latest"}
	if image.Repository != strings.ToLower(image.Repository) {
		// The grammar takes the first part for a host, which may have some.
		return Image{}, errCapitals
	}
	if isHost {
		// A colon can't stand in the name of a repository.
		host, rest, _ = strings.Cut(image.Repository, "/")
		image.Repository = strings.ReplaceAll(host, ":", "_") + "/" + rest
	}
	if tagged, ok := parsed.(reference.Tagged); ok {
		image.Reference = tagged.Tag()
	}
	if digested, ok := parsed.(reference.Digested); ok {
		image.Reference = digested.Digest().String()
	}
	return image, nil
}

// explain says what is wrong where the grammar says only that something is.
func explain(name string, err error) error {
	switch {
	case name == "":
		return errors.New("is empty; " + nameExample)
	case strings.ContainsAny(name, " \t"):
		return errors.New("holds a blank; write one image a line, and one an argument")
	case errors.Is(err, reference.ErrNameContainsUppercase):
		return errCapitals
	case errors.Is(err, reference.ErrNameTooLong):
		return fmt.Errorf("%w; %s", err, nameExample)
	case errors.Is(err, digest.ErrDigestInvalidLength), errors.Is(err, digest.ErrDigestInvalidFormat),
		errors.Is(err, digest.ErrDigestUnsupported), strings.Contains(name, "@"):
		return errors.New("what follows the @ is no digest; one looks like sha256:<64 hex digits>")
	}
	return errors.New("is not the name of an image; " + nameExample)
}

// nameOfURL turns the URL of a manifest into the name of the image.
func nameOfURL(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", errors.New("is not a URL; " + urlExample)
	case u.User != nil:
		return "", errors.New("holds a user or password; leave them out: the cache has the credentials of its upstreams")
	}
	path, below := strings.CutPrefix(u.Path, "/v2/")
	i := strings.LastIndex(path, "/manifests/")
	if !below || i < 0 {
		return "", errors.New("is not the URL of a manifest; " + urlExample)
	}
	repository, ref := path[:i], path[i+len("/manifests/"):]
	host := u.Host
	if ns := u.Query().Get("ns"); ns != "" {
		host = ns // as containerd asks a mirror
	}
	separator := ":"
	if strings.Contains(ref, ":") {
		separator = "@"
	}
	return host + "/" + repository + separator + ref, nil
}
