package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"registrycache/images"
)

// removals are what goes of both stores. Either may be nil.
type removals struct{ cached, pushed *images.Removal }

func (r removals) all() (list []*images.Removal) {
	for _, one := range []*images.Removal{r.cached, r.pushed} {
		if one != nil {
			list = append(list, one)
		}
	}
	return list
}

func (r removals) run(ctx context.Context) error {
	for _, one := range r.all() {
		if err := one.Run(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *imageStore) planRemoval(ctx context.Context, args []string) (r removals, err error) {
	targets := map[*images.Listing][]images.Target{}
	var failures []error
	for _, arg := range args {
		found, err := s.targets(arg)
		if err != nil {
			failures = append(failures, err)
		}
		for _, t := range found {
			of, place := s.find(t.image)
			targets[of] = append(targets[of], images.Target{Image: place, Tags: t.tags})
		}
	}
	if err := errors.Join(failures...); err != nil {
		return r, err
	}
	if cached := targets[s.cached]; len(cached) > 0 {
		r.cached = s.cached.PlanRemoval(cached)
	}
	if pushed := targets[s.pushed]; len(pushed) > 0 {
		r.pushed, err = s.pushed.PlanCollection(ctx, pushed)
	}
	return r, err
}

// Pushes are held off while garbage is collected. They change the store for
// moments only, so waiting long for one is a sign of something else.
const (
	holdTimeout = time.Minute
	holdNotice  = 2 * time.Second
)

// holdPushes keeps pushes from changing the store until release is called, and
// reads it anew.
func (s *imageStore) holdPushes(ctx context.Context, say io.Writer) (release func(), err error) {
	notice := time.AfterFunc(holdNotice, func() { _, _ = fmt.Fprintln(say, "waiting for pushes that are under way") })
	defer notice.Stop()
	ctx, cancel := context.WithTimeoutCause(ctx, holdTimeout, errors.New("pushes go on all the time; try again later"))
	defer cancel()
	release, err = images.At(images.HostedDir(s.cfg.StoreDir)).Collecting(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.readPushed(ctx); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// targets are what an argument means.
func (s *imageStore) targets(arg string) (targets []chosen, err error) {
	name, err := s.names.parse(arg)
	if err != nil {
		return nil, err
	}
	if name.patterns == nil && name.tag == "" && name.digest == "" {
		name.tag, name.text = "latest", arg+":latest"
	}
	for _, c := range name.match(s.Images) {
		if name.patterns == nil || !s.isPushed(c.image) || namesFirstPart(name.patterns[0].Repository) {
			targets = append(targets, c)
		}
	}
	if len(targets) == 0 {
		return nil, name.unknown(s)
	}
	if name.digest != "" && len(targets) > 1 {
		return nil, fmt.Errorf("%s stands for %d images; give more digits of the digest", arg, len(targets))
	}
	return targets, nil
}

// namesFirstPart says whether a pattern names the first part of what it stands
// for, as must be for pushed images.
func namesFirstPart(pattern string) bool {
	first, _, _ := strings.Cut(pattern, "/")
	return !strings.ContainsAny(first, `*?[\`)
}
