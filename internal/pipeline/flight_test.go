package pipeline

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// While a batch is in flight the lane must not wait in Redis for new entries: its XACK goes with the next read. One
// that takes long is held up, and new entries are waited for all the same.
func TestFlight_RecentBatchesKeepAReadFromWaiting(t *testing.T) {
	cases := map[string]struct {
		handed time.Duration // ago; negative where no worker has the batch yet
		done   bool
		want   bool
		left   int // batches in flight
	}{
		"waits for a worker": {-1, false, true, 1},
		"just now":           {0, false, true, 1},
		"takes long":         {2 * trickleTimeout, false, false, 1},
		"done":               {0, true, false, 0},
	}
	for name, c := range cases {
		f := &flight{}
		require.False(t, f.recent(), name)
		b := batchOf(1)
		f.launch(b)
		if c.handed >= 0 {
			load{b}.tookOff()
			b.handed = b.handed.Add(-c.handed)
		}
		if c.done {
			b.unacknowledged = true
			close(b.done)
		}
		require.Equal(t, c.want, f.recent(), name)
		require.Len(t, f.inFlight, c.left, name)
		require.Len(t, f.unacknowledged.IDs, 1-c.left, name)
	}
}
