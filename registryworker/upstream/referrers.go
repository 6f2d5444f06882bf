package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"registrycache/images"
)

// Referrers returns an OCI index of all manifests that refer to d. A kind of
// NotFound says that the upstream has no referrers API, or nothing of that name.
func (c *Client) Referrers(ctx context.Context, repo string, d digest.Digest) ([]byte, error) {
	op := "list referrers of " + reference(repo, d.String())
	if err := checkDigest(repo, d); err != nil {
		return nil, c.report.wrap(op, err)
	}
	q := c.call(http.MethodGet, op, repo, "referrers", d.String())
	q.header.Set("Accept", v1.MediaTypeImageIndex)
	var pages [][]byte
	all := referrersIndex{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: []json.RawMessage{}}
	_, err := c.walk(ctx, q, images.MaxManifestSize, func(resp *http.Response, text []byte) (bool, error) {
		// Registries without the API may answer unknown paths with a page for people.
		if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media != v1.MediaTypeImageIndex {
			return false, &problem{kind: NotFound, err: errors.New("the upstream has no referrers API: it answers with another media type")}
		}
		var page referrersIndex
		if err := json.Unmarshal(text, &page); err != nil {
			return false, invalid("the referrers index is malformed JSON")
		}
		pages = append(pages, text)
		all.Manifests = append(all.Manifests, page.Manifests...)
		return false, nil
	})
	if unsupportedMethod(err) {
		return nil, &Error{Upstream: c.name, Op: op, Kind: NotFound, Err: errors.New("the upstream has no referrers API")}
	}
	if err != nil {
		return nil, err
	}
	if len(pages) == 1 {
		return pages[0], nil
	}
	merged, err := json.Marshal(all)
	if err != nil {
		return nil, c.report.wrap(op, err)
	}
	return merged, nil
}

// referrersIndex keeps the descriptors as they came, with fields that are not
// known here.
type referrersIndex struct {
	specs.Versioned
	MediaType string            `json:"mediaType"`
	Manifests []json.RawMessage `json:"manifests"`
}
