package statuspage

import (
	"strings"
	"time"

	"registrycache/config"
	"registrycache/status"
)

// view is what the templates are given.
type view struct {
	status.Document
	Place place
	// Known is false when there is no state to show.
	Known bool
	// Problem says why the state is not of now.
	Problem string
	// Clock is the time of the state, and Now that to the minute or so that
	// ages in words are reckoned from.
	Clock time.Time
	Now   time.Time
	Chart *chart
}

func newView(s *snapshot, at place, err error) *view {
	v := &view{Place: at}
	if err != nil {
		v.Problem = unavailable(err)
	}
	if s == nil {
		v.State, v.Problem = noAnswer, v.Problem+" This page tries again every "+retryAfter+" seconds."
		return v
	}
	v.Document, v.Known = s.document, true
	v.Clock, v.Now = v.Time, v.Time
	if err != nil {
		v.Problem += " What follows is as of " + clock(v.Time) + "."
		v.State = noAnswer
	}
	if v.Traffic != nil {
		v.Chart = newChart(v.Traffic.Hours)
	}
	return v
}

// noAnswer is the state of a cache whose supervisor does not answer.
const noAnswer = "no answer"

// StateWord is the state as it is shown.
func (v *view) StateWord() string {
	if v.State == "ok" && v.Offline {
		return "ok, offline"
	}
	return v.State
}

// Title is that of the browser's tab.
func (v *view) Title() string {
	if v.State == "ok" {
		return "registry-cache"
	}
	return v.State + " · registry-cache"
}

// Notices are sentences for the top of the page.
func (v *view) Notices() []string {
	var all []string
	if v.Problem != "" {
		all = append(all, v.Problem)
	}
	all = append(all, v.Reasons...)
	if v.Offline {
		all = append(all, "OFFLINE is set: only what is cached is served, and no upstream is asked.")
	}
	return all
}

// Today is the traffic of all upstreams since midnight.
func (v *view) Today() status.Tally {
	return v.sum(func(u status.UpstreamTraffic) status.Tally { return u.Today })
}

// Week is the traffic of all upstreams within 7 days.
func (v *view) Week() status.Tally {
	return v.sum(func(u status.UpstreamTraffic) status.Tally { return u.Week })
}

func (v *view) sum(of func(status.UpstreamTraffic) status.Tally) (all status.Tally) {
	if v.Traffic == nil {
		return all
	}
	for _, u := range v.Traffic.Upstreams {
		all.Add(of(u))
	}
	return all
}

// Busiest are the images pulled most.
func (v *view) Busiest() []status.Image {
	if v.Traffic == nil {
		return nil
	}
	return v.Traffic.Busiest
}

// Newest are the images pulled for the first time last.
func (v *view) Newest() []status.Image {
	if v.Traffic == nil {
		return nil
	}
	return v.Traffic.Newest
}

// FillRate is the speed of all fills, in bytes a second.
func (v *view) FillRate() (all int64) {
	for _, f := range v.Fills {
		all += f.Rate
	}
	return all
}

// maxFills are shown, so that a busy minute does not push everything else away.
const maxFills = 5

// ShownFills are the first of the fills.
func (v *view) ShownFills() []status.Fill { return v.Fills[:min(len(v.Fills), maxFills)] }

// MoreFills is how many are not shown.
func (v *view) MoreFills() int { return len(v.Fills) - len(v.ShownFills()) }

// pullCommand is what fetches an image through the cache.
func (p place) pullCommand(name string) string {
	host := p.Host
	if host == "" {
		host = "<this address>"
	}
	command := "podman pull "
	if !p.TLS {
		command += "--tls-verify=false "
	}
	return command + host + "/" + name
}

// FirstPull is a command to try the cache with.
func (v *view) FirstPull() string {
	name := "UPSTREAM/REPOSITORY:TAG"
	for _, u := range v.Upstreams {
		switch {
		case u.Name == "quay.io":
			return v.Place.pullCommand(u.Path + "/podman/hello:latest")
		case u.Name == config.DockerHub:
			name = u.Path + "/library/hello-world:latest"
		case strings.HasPrefix(name, "UPSTREAM/"):
			name = u.Path + "/REPOSITORY:TAG"
		}
	}
	return v.Place.pullCommand(name)
}
