package demo

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHistogram_Quantile(t *testing.T) {
	bounds := []float64{1, 2, 4}
	tests := map[string]struct {
		histogram histogram
		q, want   float64
	}{
		"evenly spread in the first bucket":   {histogram{bounds, []uint64{10, 10, 10}, 10}, 0.5, 0.5},
		"evenly spread in a later bucket":     {histogram{bounds, []uint64{0, 0, 10}, 10}, 0.25, 2.5},
		"at the edge of a bucket":             {histogram{bounds, []uint64{5, 10, 10}, 10}, 0.5, 1},
		"beyond an empty bucket":              {histogram{bounds, []uint64{5, 5, 10}, 10}, 0.6, 2.4},
		"all of it":                           {histogram{bounds, []uint64{1, 2, 3}, 3}, 1, 4},
		"beyond the last bound":               {histogram{bounds, []uint64{1, 1, 1}, 10}, 0.99, 4},
		"everything is beyond the last bound": {histogram{bounds, []uint64{0, 0, 0}, 10}, 0, 4},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			require.InDelta(t, test.want, test.histogram.quantile(test.q), 1e-12)
		})
	}
	require.True(t, math.IsNaN(histogram{}.quantile(0.5)))
	require.True(t, math.IsNaN(histogram{bounds, []uint64{0, 0, 0}, 0}.quantile(0.5)))
}

func TestHistogram_AddAndSince(t *testing.T) {
	bounds := []float64{1, 2}
	before := histogram{bounds, []uint64{1, 2}, 3}
	after := histogram{bounds, []uint64{1, 5}, 7}

	require.Equal(t, histogram{bounds, []uint64{2, 7}, 10}, before.add(after))
	require.Equal(t, histogram{bounds, []uint64{0, 3}, 4}, after.since(before))
	require.Equal(t, before, histogram{}.add(before))
	require.Equal(t, after, after.since(histogram{}))
	require.Equal(t, histogram{bounds, []uint64{1, 2}, 3}, before, "operands stay as they were")
}
