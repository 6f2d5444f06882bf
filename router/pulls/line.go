package pulls

import "time"

// line is what is written of a pull, out of the reach of its requests.
type line struct {
	Pull
	duration time.Duration
}

// lineTo appends the pull's line, if it has one.
func (p *Pull) lineTo(lines []line) []line {
	if !p.got {
		return lines
	}
	return append(lines, line{*p, p.until.Sub(p.from)})
}

func (l *Log) write(lines []line) {
	for _, p := range lines {
		e := l.log.Info().Str("image", p.name())
		if p.digest != "" {
			e.Str("digest", p.digest)
		}
		e.Str("upstream", p.upstream).Str("cache", rankNames[p.worst]).
			Int64("bytes", p.bytes).Float64("duration", p.duration.Seconds()).
			Int("requests", p.requests).Int("times", p.times).Str("client", p.who.client)
		if p.who.user != "" {
			e.Str("user", p.who.user)
		}
		e.Msg(Message)
	}
}

// Message is that of every line of a pull.
const Message = "pulled"
