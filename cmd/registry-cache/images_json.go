package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"regexp"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"registrycache/images"
)

// imageJSON is an image as --json shows it. The fields are documented in the
// README and stay.
type imageJSON struct {
	Name       string          `json:"name"`
	Upstream   string          `json:"upstream"`
	Repository string          `json:"repository"`
	Tags       []string        `json:"tags"`
	Digest     digest.Digest   `json:"digest"`
	MediaType  string          `json:"mediaType"`
	Platforms  []string        `json:"platforms"`
	Children   []childJSON     `json:"children,omitempty"`
	Blobs      int             `json:"blobs"`
	Size       int64           `json:"sizeBytes"`
	Shared     int64           `json:"sharedBytes"`
	Used       time.Time       `json:"lastUsed"`
	Complete   bool            `json:"complete"`
	Damaged    bool            `json:"damaged"`
	Pushed     bool            `json:"pushed"`
	Missing    []digest.Digest `json:"missing,omitempty"`
}

type childJSON struct {
	Digest    digest.Digest `json:"digest"`
	MediaType string        `json:"mediaType"`
	Platform  string        `json:"platform"`
	Cached    bool          `json:"cached"`
}

type totalsJSON struct {
	Images     int   `json:"images"`
	Blobs      int   `json:"blobs"`
	Bytes      int64 `json:"bytes"`
	LooseBlobs int   `json:"looseBlobs"`
	LooseBytes int64 `json:"looseBytes"`
	// Pushed are those of the store of pushed images, which the others leave
	// out.
	Pushed *totalsJSON `json:"pushed,omitempty"`
}

func totalsOf(l *images.Listing) totalsJSON {
	return totalsJSON{
		Images: len(l.Images), Blobs: l.All.Blobs, Bytes: l.All.Bytes,
		LooseBlobs: l.Loose.Blobs, LooseBytes: l.Loose.Bytes,
	}
}

// writeJSON writes one image after the other, as all of them may be many.
func (s *imageStore) writeJSON(to io.Writer, shown []listedImage) error {
	out := bufio.NewWriter(to)
	upstreams := map[string]string{}
	for _, u := range s.cfg.Upstreams {
		upstreams[u.Path] = u.Name
	}
	_, _ = out.WriteString(`{"images":[`)
	for i, image := range shown {
		if i > 0 {
			_ = out.WriteByte(',')
		}
		_ = out.WriteByte('\n')
		row, err := s.describe(image, upstreams)
		if err != nil {
			return err
		}
		text, err := json.Marshal(row)
		if err != nil {
			return err
		}
		_, _ = out.Write(text)
	}
	totals := totalsOf(s.cached)
	if s.pushed.All.Blobs > 0 {
		pushed := totalsOf(s.pushed)
		totals.Pushed = &pushed
	}
	text, err := json.Marshal(totals)
	if err != nil {
		return err
	}
	_, _ = out.WriteString("\n],\"totals\":" + string(text) + "}\n")
	return out.Flush()
}

func (s *imageStore) describe(image listedImage, upstreams map[string]string) (imageJSON, error) {
	row := imageJSON{
		Name: image.Repository, Tags: image.Tags, Digest: image.Digest, MediaType: image.MediaType,
		Platforms: image.Platforms, Blobs: image.Blobs, Size: image.Size, Shared: image.Size - image.Own,
		Used: image.Used.UTC(), Complete: image.Complete(), Damaged: image.Damaged, Missing: image.Missing,
		Pushed: image.of == s.pushed,
	}
	if row.Tags == nil {
		row.Tags = []string{}
	}
	if row.Platforms == nil {
		row.Platforms = []string{}
	}
	row.Upstream, row.Repository = splitUpstream(image.Repository, upstreams)
	children, err := image.of.Children(image.Image)
	for _, c := range children {
		row.Children = append(row.Children, childJSON{c.Digest, c.MediaType, c.Platform, c.Here})
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // evicted at this moment
	}
	return row, err
}

// hostLike is what the first part of a name must look like to be an upstream
// that is not configured any more: Docker's rule for image names.
var hostLike = regexp.MustCompile(`\.|_[0-9]+$|^localhost$`)

// splitUpstream tells the upstream from the rest of a name. Another registry
// that wrote the store has put none into its names.
func splitUpstream(name string, upstreams map[string]string) (upstream, repository string) {
	first, rest, more := strings.Cut(name, "/")
	if upstream, known := upstreams[first]; known && more {
		return upstream, rest
	}
	if more && hostLike.MatchString(first) {
		return first, rest
	}
	return "", name
}
