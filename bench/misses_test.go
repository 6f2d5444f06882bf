package bench

import (
	"testing"
	"time"
)

// misses is what the cache costs, or saves, when it has nothing yet.
var misses = section{
	name: "misses", title: "Misses", beside: []string{direct, ancestor},
	rows: []row{
		{"PullCapped", measurePullCapped},
		{"PullLink", measurePullLink},
		{"PullUncapped", measurePullUncapped},
		{"Stampede", measureStampede},
		{"Memory", measureFillMemory},
	},
}

func BenchmarkCold(b *testing.B) { misses.run(b) }

// coldRounds is how often contestants take turns here: these rows take longer
// than hits, and scatter less.
func coldRounds() int { return (*rounds + 1) / 2 }

// sections are all that there is to measure.
var sections = []*section{&hits, &misses, &store}

const (
	// internet is the latency of an upstream.
	internet = 50 * time.Millisecond
	// perConnection is what CDNs of registries give one connection, in bytes a
	// second.
	perConnection = 20e6
	// gigabit is what a link of 1 Gbit/s carries of TCP's payload, in bytes a
	// second.
	gigabit = 117e6
)
