package generations

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheOldestHalfIsForgotten(t *testing.T) {
	m := New[int, string](10)
	for i := range 1000 {
		m.Put(i, fmt.Sprint(i), 1)
		require.LessOrEqual(t, len(m.young)+len(m.old), 20)
		for back := range min(i, 10) {
			v, ok := m.Get(i - back)
			require.True(t, ok)
			require.Equal(t, fmt.Sprint(i-back), v)
		}
	}
	_, ok := m.Get(0)
	require.False(t, ok)

	m = New[int, string](10)
	m.Put(0, "kept", 1)
	for i := 1; i < 100; i++ {
		v, ok := m.Get(0)
		require.True(t, ok)
		m.Put(0, v, 1)
		m.Put(i, "", 4)
	}
	m.Put(100, "larger than all", 50)
	_, ok = m.Get(100)
	require.True(t, ok)
}
