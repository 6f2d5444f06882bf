package tally

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"registrycache/logger/accesslog"
	"registrycache/status"
)

// fileKind and fileVersion tell the file from others, and from what it may
// become.
const (
	fileKind    = "registry-cache traffic"
	fileVersion = 1
	// maxFile bounds what is read, in bytes; what is written is always less.
	maxFile = 16 << 20
	// maxCount bounds every number that is read, so that few of them don't overflow.
	maxCount = 1 << 60
)

// content is the file. Times are seconds since 1970, those of images
// milliseconds: that is how fast new ones follow each other.
type content struct {
	Kind      string             `json:"kind"`
	Version   int                `json:"version"`
	Place     accesslog.Position `json:"position"`
	Since     int64              `json:"since"`
	Upstreams []keptUpstream     `json:"upstreams"`
	Images    []keptImage        `json:"images"`
}

type keptUpstream struct {
	Path  string       `json:"path"`
	Last  int64        `json:"last"`
	Total status.Tally `json:"total"`
	// Hours are the begin, and requests, hits, failed, sent, saved.
	Hours [][6]int64 `json:"hours"`
}

type keptImage struct {
	Repository string `json:"repository"`
	Reference  string `json:"reference"`
	First      int64  `json:"first"`
	Last       int64  `json:"last"`
	// Day is the last with a pull, and Pulls those of the week up to it, that
	// day's last.
	Day   int64            `json:"day"`
	Pulls [weekDays]uint32 `json:"pulls"`
}

// encode is the whole file.
func (t *Tally) encode() ([]byte, error) {
	c := content{Kind: fileKind, Version: fileVersion, Place: t.place, Since: t.since.Unix()}
	for path, u := range t.upstreams {
		k := keptUpstream{Path: path, Last: u.last, Total: u.total}
		for _, h := range u.hours {
			k.Hours = append(k.Hours, [6]int64{h.begin, h.Requests, h.Hits, h.Failed, h.Sent, h.Saved})
		}
		c.Upstreams = append(c.Upstreams, k)
	}
	for n, i := range t.images {
		k := keptImage{Repository: n.repository, Reference: n.reference, First: i.first, Last: i.last, Day: i.day}
		for d := range k.Pulls {
			k.Pulls[d] = *i.on(i.day - weekDays + 1 + int64(d))
		}
		c.Images = append(c.Images, k)
	}
	return json.Marshal(c)
}

// decode fills an empty tally with what encode wrote. It takes nothing from a
// file that is not wholly right.
func (t *Tally) decode(raw []byte) error {
	var c content
	if err := json.Unmarshal(raw, &c); err != nil {
		return err
	}
	if c.Kind != fileKind {
		return errors.New("it is no " + fileKind)
	}
	if c.Version != fileVersion {
		return fmt.Errorf("it is of version %d, and this one knows %d", c.Version, fileVersion)
	}
	if len(c.Upstreams) > maxUpstreams || len(c.Images) > maxImages {
		return errors.New("it has too much in it")
	}
	upstreams, images := map[string]*upstream{}, catalog{}
	for _, k := range c.Upstreams {
		u, err := k.upstream()
		if err != nil {
			return fmt.Errorf("upstream %q: %w", k.Path, err)
		}
		upstreams[k.Path] = u
	}
	for _, k := range c.Images {
		i, err := k.image()
		if err != nil {
			return fmt.Errorf("image %q %q: %w", k.Repository, k.Reference, err)
		}
		images[name{k.Repository, k.Reference}] = i
	}
	if err := counts(c.Since, c.Place.Offset); err != nil {
		return err
	}
	t.since, t.kept, t.place = time.Unix(c.Since, 0), c.Place, c.Place
	t.upstreams, t.images = upstreams, images
	return nil
}

var errOrder = errors.New("hours or days out of order")

func (k keptUpstream) upstream() (*upstream, error) {
	if k.Path == "" || len(k.Path) > maxPath || len(k.Hours) > maxHours {
		return nil, errors.New("not one of ours")
	}
	u := &upstream{total: k.Total, last: k.Last}
	if err := counts(k.Last, k.Total.Requests, k.Total.Hits, k.Total.Failed, k.Total.Sent, k.Total.Saved); err != nil {
		return nil, err
	}
	begin := int64(-1)
	for _, h := range k.Hours {
		if h[0] <= begin || h[0] > k.Last {
			return nil, errOrder
		}
		if err := counts(h[:]...); err != nil {
			return nil, err
		}
		begin = h[0]
		u.hours = append(u.hours, hour{begin, status.Tally{Requests: h[1], Hits: h[2], Failed: h[3], Sent: h[4], Saved: h[5]}})
	}
	return u, nil
}

func (k keptImage) image() (*image, error) {
	if k.Repository == "" || k.Reference == "" || len(k.Repository)+len(k.Reference) > maxName {
		return nil, errors.New("not one of ours")
	}
	if err := counts(k.First, k.Last, k.Day); err != nil {
		return nil, err
	}
	if k.First > k.Last {
		return nil, errOrder
	}
	i := &image{first: k.First, last: k.Last, day: k.Day}
	for d, pulls := range k.Pulls {
		*i.on(k.Day - weekDays + 1 + int64(d)) = pulls
	}
	return i, nil
}

func counts(list ...int64) error {
	for _, n := range list {
		if n < 0 || n > maxCount {
			return fmt.Errorf("%d is no count", n)
		}
	}
	return nil
}
