package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"
)

// Blob is the answer to a request for a blob, or a part of one.
type Blob struct {
	// Body fails with an *Error, and with one too when it ends early. Its end
	// may come before the end that was asked for only when the upstream
	// answered a range by a shorter one.
	Body io.ReadCloser
	// Offset is that of the first byte in Body.
	Offset int64
	// Size is that of the whole blob, or -1 when the upstream did not say.
	Size int64
	// Ranged says that the upstream honoured a range.
	Ranged bool
}

// StatBlob asks for the size of a blob, which is -1 when the upstream has the
// blob and does not say.
func (c *Client) StatBlob(ctx context.Context, repo string, d digest.Digest) (int64, error) {
	op := "stat blob " + reference(repo, d.String())
	if err := checkDigest(repo, d); err != nil {
		return 0, c.report.wrap(op, err)
	}
	resp, err := c.do(ctx, c.call(http.MethodHead, op, repo, "blobs", d.String()))
	if headRefused(err) {
		return c.sizeByGet(ctx, repo, d)
	}
	if err != nil {
		return 0, err
	}
	drain(resp)
	return resp.ContentLength, nil
}

// sizeByGet learns the size from the first byte's Content-Range.
func (c *Client) sizeByGet(ctx context.Context, repo string, d digest.Digest) (int64, error) {
	b, err := c.OpenBlob(ctx, repo, d, 0, 1)
	if err != nil {
		return 0, err
	}
	_ = b.Body.Close()
	return b.Size, nil
}

// headRefused says whether a HEAD failed for being one: 405, or a storage host
// that was given an address signed for GET only.
func headRefused(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (unsupportedMethod(err) || e.Kind == Unavailable && e.Status == http.StatusForbidden)
}

// OpenBlob asks for the bytes [offset,end) of a blob; an end of -1 is the blob's.
// An upstream that ignores the range sends the whole: Offset is 0 then. An
// offset that the blob does not reach is Invalid, with status 416. The body
// fails when no byte arrives for Timeouts.IdleBody; nothing limits its whole
// time. It ends with ctx, and takes up one of maxRequests places until it is
// closed.
func (c *Client) OpenBlob(ctx context.Context, repo string, d digest.Digest, offset, end int64) (*Blob, error) {
	op := "get blob " + reference(repo, d.String())
	err := checkDigest(repo, d)
	if err == nil && (offset < 0 || end >= 0 && end <= offset) {
		err = invalid("not a range: [%d,%d)", offset, end)
	}
	if err != nil {
		return nil, c.report.wrap(op, err)
	}
	q := c.call(http.MethodGet, op, repo, "blobs", d.String())
	q.lane = c.blobs
	switch {
	case end >= 0:
		q.header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, end-1))
	case offset > 0:
		q.header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := c.do(ctx, q)
	if err != nil {
		return nil, err
	}
	b, length, err := readRange(resp, offset, end)
	if err != nil {
		_ = resp.Body.Close() // no drain: it may be all of a large blob
		return nil, c.broken(ctx, op, err)
	}
	b.Body = &blobBody{ReadCloser: resp.Body, left: length, wrap: func(err error) error { return c.broken(ctx, op, err) }}
	return b, nil
}

// readRange makes sure that the answer is what was asked for, and returns its
// length, -1 for unknown.
func readRange(resp *http.Response, offset, end int64) (*Blob, int64, error) {
	ranged := offset > 0 || end >= 0
	switch {
	case resp.StatusCode == http.StatusOK:
		return &Blob{Size: resp.ContentLength}, resp.ContentLength, nil
	case resp.StatusCode != http.StatusPartialContent || !ranged:
		return nil, 0, invalid("an answer with status %d that was not asked for", resp.StatusCode)
	}
	r, err := parseContentRange(resp.Header.Get("Content-Range"))
	if err != nil {
		return nil, 0, &problem{kind: Invalid, err: err}
	}
	length := r.last - r.first + 1
	switch {
	case r.first != offset:
		return nil, 0, invalid("the bytes from %d on were asked for, those from %d on came", offset, r.first)
	case end >= 0 && r.last >= end:
		return nil, 0, invalid("the bytes up to %d were asked for, those up to %d came", end-1, r.last)
	case resp.ContentLength >= 0 && resp.ContentLength != length:
		return nil, 0, invalid("Content-Range says %d bytes, Content-Length %d", length, resp.ContentLength)
	}
	return &Blob{Offset: offset, Size: r.size, Ranged: true}, length, nil
}

// blobBody holds a body to the length that was announced, which net/http does
// only for Content-Length, and makes its errors ours.
type blobBody struct {
	io.ReadCloser
	left int64 // -1 for unknown
	wrap func(error) error
}

func (b *blobBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if b.left > 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left > 0 {
		b.left -= int64(n)
	}
	switch {
	case err == nil || b.left == 0 && errors.Is(err, io.EOF):
		return n, err
	case errors.Is(err, io.EOF) && b.left < 0:
		return n, io.EOF
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return n, b.wrap(err)
}
