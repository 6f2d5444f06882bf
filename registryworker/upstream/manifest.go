package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"registrycache/images"
)

// manifestTypes is what is accepted where a manifest is asked for. The
// wildcard is last: it gets types nobody knows yet, and some registries take
// its absence as a wish for a conversion.
var manifestTypes = strings.Join([]string{
	v1.MediaTypeImageIndex,
	v1.MediaTypeImageManifest,
	images.MediaTypeDockerManifestList,
	images.MediaTypeDockerManifest,
	"application/vnd.oci.artifact.manifest.v1+json",
	"*/*",
}, ", ")

// ResolveManifest asks what a tag or a digest is, without its content where the
// upstream allows. MediaType is as the upstream gave it; Size is -1 when it did
// not say.
func (c *Client) ResolveManifest(ctx context.Context, repo, ref string) (v1.Descriptor, error) {
	op := "resolve " + reference(repo, ref)
	if err := checkReference(repo, ref); err != nil {
		return v1.Descriptor{}, c.report.wrap(op, err)
	}
	resp, err := c.do(ctx, c.manifestCall(http.MethodHead, op, repo, ref))
	if unsupportedMethod(err) {
		desc, _, err := c.fetchManifest(ctx, op, repo, ref)
		return desc, err
	}
	if err != nil {
		return v1.Descriptor{}, err
	}
	drain(resp)
	desc := v1.Descriptor{MediaType: resp.Header.Get("Content-Type"), Size: resp.ContentLength}
	switch said, err := digest.Parse(resp.Header.Get("Docker-Content-Digest")); {
	case err == nil && differs(ref, said):
		return v1.Descriptor{}, c.broken(ctx, op, invalid("the upstream says this is %s", said))
	case isDigest(ref):
		desc.Digest = digest.Digest(ref)
	case err == nil:
		desc.Digest = said
	default:
		desc, _, err := c.fetchManifest(ctx, op, repo, ref)
		return desc, err
	}
	return desc, nil
}

// Manifest fetches a manifest. The payload is checked against d and is at most
// images.MaxManifestSize long; the media type is exactly as it came.
func (c *Client) Manifest(ctx context.Context, repo string, d digest.Digest) (mediaType string, payload []byte, err error) {
	op := "get manifest " + reference(repo, d.String())
	if err := checkDigest(repo, d); err != nil {
		return "", nil, c.report.wrap(op, err)
	}
	desc, payload, err := c.fetchManifest(ctx, op, repo, d.String())
	return desc.MediaType, payload, err
}

func (c *Client) fetchManifest(ctx context.Context, op, repo, ref string) (v1.Descriptor, []byte, error) {
	resp, err := c.do(ctx, c.manifestCall(http.MethodGet, op, repo, ref))
	if err != nil {
		return v1.Descriptor{}, nil, err
	}
	defer drain(resp)
	payload, err := readAll(resp, images.MaxManifestSize, images.ErrManifestTooLarge)
	if err != nil {
		return v1.Descriptor{}, nil, c.broken(ctx, op, err)
	}
	// Of a tag, the upstream's own claim is checked: a proxy on the way may
	// have changed the bytes.
	want, err := digest.Parse(resp.Header.Get("Docker-Content-Digest"))
	switch {
	case isDigest(ref):
		want = digest.Digest(ref)
	case err != nil:
		want = digest.FromBytes(payload)
	}
	if got := want.Algorithm().FromBytes(payload); got != want {
		return v1.Descriptor{}, nil, c.broken(ctx, op, invalid("the content is %s and not %s", got, want))
	}
	if !isJSONObject(payload) {
		return v1.Descriptor{}, nil, c.broken(ctx, op, invalid("the answer is no manifest but %s", describe(resp.Header.Get("Content-Type"))))
	}
	return v1.Descriptor{
		MediaType: resp.Header.Get("Content-Type"), Digest: want, Size: int64(len(payload)),
	}, payload, nil
}

func (c *Client) manifestCall(method, op, repo, ref string) call {
	q := c.call(method, op, repo, "manifests", ref)
	q.header.Set("Accept", manifestTypes)
	return q
}

// isJSONObject holds for every manifest there is, of known or unknown type, and
// not for the login or error page of something between here and the upstream
// that answers 200 to everything.
func isJSONObject(payload []byte) bool {
	trimmed := bytes.TrimLeft(payload, " \t\r\n")
	return len(trimmed) > 0 && trimmed[0] == '{' && json.Valid(payload)
}

// describe names an unexpected media type for an error message.
func describe(contentType string) string {
	if contentType == "" {
		return "something without a media type"
	}
	return strconv.Quote(contentType)
}

// differs says whether an upstream contradicts the digest that was asked for.
// It may well name the same content by another algorithm.
func differs(ref string, said digest.Digest) bool {
	asked := digest.Digest(ref)
	return isDigest(ref) && asked.Algorithm() == said.Algorithm() && asked != said
}

// unsupportedMethod says whether the upstream does not know HEAD here.
func unsupportedMethod(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.Status == http.StatusMethodNotAllowed || e.Status == http.StatusNotImplemented)
}

// readAll reads a body of at most limit bytes; a longer one is tooLarge, known
// before it is read when the upstream gave its length.
func readAll(resp *http.Response, limit int64, tooLarge error) ([]byte, error) {
	if resp.ContentLength > limit {
		return nil, &problem{kind: Invalid, err: tooLarge}
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, &problem{kind: Invalid, err: tooLarge}
	}
	return b, nil
}
