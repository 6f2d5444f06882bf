package statuspage

import "registrycache/status"

// upstreamCard is an upstream as it is shown.
type upstreamCard struct {
	status.Upstream
	// Word and Tone say how it does.
	Word, Tone string
	// CredentialsWord and CredentialsTone say what it thinks of its credentials.
	CredentialsWord, CredentialsTone string
	Periods                          []period
}

// period is the traffic of a time.
type period struct {
	Label string
	status.Tally
}

// UpstreamCards are the upstreams that there is something to say of, in the
// order of the document.
func (v *view) UpstreamCards() []upstreamCard {
	var cards []upstreamCard
	for _, u := range v.Upstreams {
		t := v.trafficOf(u)
		if resting(u, t) {
			continue
		}
		c := upstreamCard{Upstream: u, Periods: []period{{"Today", t.Today}, {"7 days", t.Week}, {"In all", t.Total}}}
		c.Word, c.Tone = health(u)
		c.CredentialsWord, c.CredentialsTone = credentials(u.Credentials)
		cards = append(cards, c)
	}
	return cards
}

// Resting are the other upstreams: a card each would push what matters away.
func (v *view) Resting() []status.Upstream {
	var rest []status.Upstream
	for _, u := range v.Upstreams {
		if resting(u, v.trafficOf(u)) {
			rest = append(rest, u)
		}
	}
	return rest
}

// resting says that nobody ever pulled from the upstream, and nothing is wrong
// with it.
func resting(u status.Upstream, t status.UpstreamTraffic) bool {
	return u.State == status.Untried && u.Process == "ready" && u.Failure == nil && u.RateLimit == nil && t.Total.Requests == 0
}

func (v *view) trafficOf(u status.Upstream) status.UpstreamTraffic {
	if v.Traffic != nil {
		for _, t := range v.Traffic.Upstreams {
			if t.Path == u.Path {
				return t
			}
		}
	}
	return status.UpstreamTraffic{}
}

// health is how an upstream does, and how bad that is.
func health(u status.Upstream) (word, tone string) {
	if u.Process != "" && u.Process != "ready" {
		return "worker " + u.Process, toneWarn
	}
	switch u.State {
	case status.Answering:
		return "answers", toneGood
	case status.Failing:
		return "failing", toneBad
	case status.Untried:
		return "not asked yet", toneIdle
	case status.Offline:
		return "offline", toneIdle
	case "":
		return "not known", toneWarn
	}
	return u.State, toneWarn
}

func credentials(state string) (word, tone string) {
	switch state {
	case status.Anonymous:
		return "none, anonymous", ""
	case status.Unused:
		return "not needed yet", ""
	case status.Accepted:
		return "accepted", ""
	case status.Refused:
		return "refused", toneBad
	case status.PartRefused:
		return "some are refused", toneWarn
	case "":
		return "not known", ""
	}
	return state, toneWarn
}
