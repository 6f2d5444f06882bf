package status

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSecondsAreNumbersInJSON(t *testing.T) {
	for _, s := range []Seconds{0, Seconds(1500 * time.Millisecond), Seconds(6 * time.Hour), 1} {
		b, err := json.Marshal(s)
		require.NoError(t, err)
		var again Seconds
		require.NoError(t, json.Unmarshal(b, &again), "%s", b)
		assert.Equal(t, s, again)
	}
	b, _ := json.Marshal(Seconds(1500 * time.Millisecond))
	assert.JSONEq(t, `1.5`, string(b))
	var s Seconds
	assert.Error(t, json.Unmarshal([]byte(`"1s"`), &s))
}

func TestHitRatio(t *testing.T) {
	_, ok := Tally{}.HitRatio()
	assert.False(t, ok)
	tally := Tally{Requests: 3, Hits: 1, Sent: 7, Saved: 5}
	tally.Add(Tally{Requests: 1, Hits: 1, Failed: 2, Sent: 1, Saved: 1})
	assert.Equal(t, Tally{Requests: 4, Hits: 2, Failed: 2, Sent: 8, Saved: 6}, tally)
	ratio, ok := tally.HitRatio()
	assert.True(t, ok)
	assert.InDelta(t, 0.5, ratio, 0)
}
