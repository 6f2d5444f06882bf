package statuspage

// gauge is a bar. Value is percent of its length.
type gauge struct {
	Value float64
	Tone  string
}

// newGauge shows what is used of a limit. It may be more than that for a while:
// a clean begins only some way above.
func newGauge(used, limit int64) gauge {
	switch {
	case limit <= 0:
		return gauge{Tone: toneGood}
	case used > limit:
		return gauge{Value: 100, Tone: toneWarn}
	}
	return gauge{Value: share100(used, limit), Tone: toneGood}
}

const (
	littleLeft = 20 // percent
	hardlyLeft = 5
)

// headroom shows what is left of what there is to use.
func headroom(remaining, limit int64) gauge {
	if limit <= 0 {
		return gauge{Tone: toneBad}
	}
	g := gauge{Value: share100(min(remaining, limit), limit), Tone: toneGood}
	switch {
	case g.Value <= hardlyLeft:
		g.Tone = toneBad
	case g.Value <= littleLeft:
		g.Tone = toneWarn
	}
	return g
}

// share100 is in percent, to a tenth.
func share100(part, whole int64) float64 {
	return float64(int64(float64(max(part, 0))/float64(whole)*1000+0.5)) / 10
}
