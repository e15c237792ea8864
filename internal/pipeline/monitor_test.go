package pipeline

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/observe"
)

func TestProgress_StallsAfterAMinuteWithoutAnEnd(t *testing.T) {
	start := time.Now()
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	g := progress{at: start}
	require.False(t, g.stalled(at(300), false, observe.LedgerSnapshot{}), "nothing to do is no stall")
	require.False(t, g.stalled(at(350), true, observe.LedgerSnapshot{Read: 10, InFlight: 10}))
	require.True(t, g.stalled(at(361), true, observe.LedgerSnapshot{Read: 10, InFlight: 10}))
	require.False(t, g.stalled(at(362), true, observe.LedgerSnapshot{Read: 10, InFlight: 9}), "one was finished")
	require.False(t, g.stalled(at(420), true, observe.LedgerSnapshot{Read: 12, InFlight: 11}), "reading is no progress")
	require.True(t, g.stalled(at(423), true, observe.LedgerSnapshot{Read: 12, InFlight: 11}))
}
