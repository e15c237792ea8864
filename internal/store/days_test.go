package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/position"
)

// Rows of the days closest to today come first, a portion touches few days, and days that are not known wait.
func TestPortions_TouchFewDays(t *testing.T) {
	const today = 20000
	var positions []position.Position
	var order []int32
	for i := range 30 { // two rows a day, the oldest first
		for range 2 {
			order = append(order, int32(len(positions)))
			positions = append(positions, position.Position{Timestamp: startOf(today - 29 + int64(i)).Add(time.Hour)})
		}
	}
	now, later := portions(positions, order, today, func(day int64) bool { return day < today-19 })
	require.Equal(t, [][]int32{order[60-2*maxChunks:], order[4:20], order[:4]}, now)
	require.Equal(t, order[20:60-2*maxChunks], later)

	all, none := portions(positions, order[:16], today, func(int64) bool { return false })
	require.Equal(t, [][]int32{order[:16]}, all, "few days are one portion, known or not")
	require.Empty(t, none)
}

func TestAtOnce_LeavesTimeForOtherBatches(t *testing.T) {
	var all [][]int32
	for n := range int32(maxPortions + 2) {
		all = append(all, []int32{n})
	}
	now, parked := atOnce(all[:maxPortions], []int32{99})
	require.Equal(t, all[:maxPortions], now)
	require.Equal(t, []int32{99}, parked)
	now, parked = atOnce(all, []int32{99})
	require.Equal(t, all[:maxPortions], now)
	require.Equal(t, []int32{maxPortions, maxPortions + 1, 99}, parked)
}

func TestDayOf_BeforeTheEpoch(t *testing.T) {
	for text, day := range map[string]int64{"1970-01-01T00:00:00Z": 0, "1969-12-31T23:59:59Z": -1, "1969-12-31T00:00:00Z": -1, "1970-01-02T00:00:00Z": 1} {
		at, err := time.Parse(time.RFC3339, text)
		require.NoError(t, err)
		require.Equal(t, day, dayOf(&position.Position{Timestamp: at}), text)
	}
}
