package pullthrough

import (
	"context"
	"io"
	"net/http/httptest"
	"testing"

	"github.com/distribution/distribution/v3/registry/api/errcode"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/logger/accesslog"
	"registrycache/registryworker/upstream"
)

func (b *bench) listTags(remote string, limit int, last string) ([]string, accesslog.CacheStatus, error) {
	w := httptest.NewRecorder()
	ctx := withExchange(context.Background(), &exchange{w: w})
	tags, err := b.repo(remote).Tags(ctx).List(ctx, limit, last)
	return tags, accesslog.ParseHeader(w.Header().Get(accesslog.HeaderName)), err
}

func TestTagsAreTheUpstreams(t *testing.T) {
	b := newBench(t)
	d := digest.FromString("x")
	for _, tag := range []string{"a", "b", "c", "d", "e"} {
		b.up.tags["org/app:"+tag] = d
	}
	for _, c := range []struct {
		limit int
		last  string
		want  []string
		err   error
	}{
		{-1, "", []string{"a", "b", "c", "d", "e"}, io.EOF},
		{2, "", []string{"a", "b"}, nil},
		{2, "b", []string{"c", "d"}, nil},
		{2, "d", []string{"e"}, io.EOF},
		{5, "", []string{"a", "b", "c", "d", "e"}, io.EOF},
		{9, "c", []string{"d", "e"}, io.EOF},
		{-1, "e", nil, io.EOF},
	} {
		tags, status, err := b.listTags("org/app", c.limit, c.last)
		assert.Equal(t, c.want, tags, "%+v", c)
		assert.Equal(t, c.err, err, "%+v", c)
		assert.Equal(t, accesslog.Passed, status)
	}
	_, _, err := b.listTags("org/none", -1, "")
	codeIs(t, errcode.ErrorCodeNameUnknown, err)
}

func TestKnownTagsWhileTheUpstreamFails(t *testing.T) {
	b := newBench(t)
	for _, tag := range []string{"v1", "v2", "v3"} {
		b.up.addImage(t, "org/app", tag, tag)
		require.NoError(t, b.byTag("org/app", tag).err)
	}
	b.up.failing(upErr(upstream.Unavailable), "tags")
	tags, status, err := b.listTags("org/app", -1, "")
	require.Equal(t, io.EOF, err)
	assert.Equal(t, []string{"v1", "v2", "v3"}, tags)
	assert.Equal(t, accesslog.Stale, status)

	tags, _, err = b.listTags("org/app", 1, "v1")
	require.NoError(t, err)
	assert.Equal(t, []string{"v2"}, tags)
	tags, _, err = b.listTags("org/app", 1, "v3")
	require.Equal(t, io.EOF, err)
	assert.Empty(t, tags)

	_, _, err = b.listTags("org/other", -1, "")
	codeIs(t, errcode.ErrorCodeUnavailable, err)

	b.up.failing(upErr(upstream.NotFound), "tags")
	_, _, err = b.listTags("org/app", -1, "")
	codeIs(t, errcode.ErrorCodeNameUnknown, err)

	off := benchIn(t, b.dir, newFake(), func(o *Options) { o.Offline = true })
	tags, status, err = off.listTags("org/app", -1, "")
	require.Equal(t, io.EOF, err)
	assert.Len(t, tags, 3)
	assert.Equal(t, accesslog.Hit, status)
	_, _, err = off.listTags("org/other", -1, "")
	codeIs(t, errcode.ErrorCodeNameUnknown, err)
	assert.Empty(t, off.up.calls)
}

func TestOpenCircuitLeavesTheKnownTags(t *testing.T) {
	b := newBench(t)
	b.up.addImage(t, "org/app", "v1", "v1")
	require.NoError(t, b.byTag("org/app", "v1").err)
	b.circuit.failed(errSlow, 0)
	tags, status, err := b.listTags("org/app", -1, "")
	require.Equal(t, io.EOF, err)
	assert.Equal(t, []string{"v1"}, tags)
	assert.Equal(t, accesslog.Stale, status)
	assert.Zero(t, b.up.count("tags"))

	_, _, err = b.listTags("org/other", -1, "")
	codeIs(t, errcode.ErrorCodeNameUnknown, err)
	assert.Equal(t, 1, b.up.count("tags"), "who knows nothing asks all the same")
}
