package hosted

import (
	"testing"
	"testing/synctest"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"registrycache/images"
	"registrycache/status"
)

func TestTheStateSaysHowMuchThereIs(t *testing.T) {
	w := start(t, t.TempDir())
	w.push("local/team/app:1")
	w.push("local/other:1")
	h := w.part().Hosted
	for h == nil { // a store that is slow is measured behind the back
		h = w.part().Hosted
	}
	assert.Equal(t, "local", h.Prefix)
	assert.Equal(t, 2, h.Repositories)
	assert.Equal(t, 2, h.Tags)
	assert.Greater(t, h.Used, int64(6*64<<10))
}

func TestTheStoreIsMeasuredOnceAMinute(t *testing.T) {
	store, err := images.Open(t.TempDir())
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		m := newMeter(t.Context(), "local", store, zerolog.Nop())
		defer m.close()
		assert.Equal(t, &status.Hosted{Prefix: "local"}, m.part().Hosted)
		first := m.measured
		m.part()
		assert.Equal(t, first, m.measured)
	})
}
