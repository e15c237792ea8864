package pipeline

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"processor/internal/stream"
)

func entries(ids ...uint64) (entries []stream.Entry) {
	for _, id := range ids {
		entries = append(entries, stream.Entry{ID: stream.ID{Millis: id}})
	}
	return entries
}

// What is in flight here is pending too, and Redis hands it out again: it must not be processed
// twice at once.
func TestReader_LeavesOutWhatIsInFlight(t *testing.T) {
	inFlight := func(ids ...uint64) *batch { return &batch{Batch: stream.Batch{Entries: entries(ids...)}} }
	cases := map[string]struct {
		batches []*batch
		found   []stream.Entry
		want    []stream.Entry
	}{
		"nothing in flight": {nil, entries(1, 2), entries(1, 2)},
		"some":              {[]*batch{inFlight(2), inFlight(4, 5)}, entries(1, 2, 3, 4, 5, 6), entries(1, 3, 6)},
		"all":               {[]*batch{inFlight(1, 2)}, entries(1, 2), nil},
		"nothing found":     {[]*batch{inFlight(1)}, nil, nil},
		"waits alone":       {nil, entries(6, 7, 8), entries(6, 8)},
		"released batches":  {[]*batch{inFlight()}, entries(1), entries(1)},
	}
	for name, c := range cases {
		alone := &waiter{ids: map[stream.ID]bool{{Millis: 7}: true}}
		r := reader{inFlight: c.batches, pipeline: &Pipeline{waiters: map[*stream.Consumer]*waiter{nil: alone}}}
		got := leaveOut(stream.Batch{Entries: c.found, Redelivered: true}, r.inFlightIDs())
		require.ElementsMatch(t, c.want, got.Entries, name)
		require.True(t, got.Redelivered)
	}
}

// What is in memory here is no loss; what is in flight only to be acknowledged, being trimmed
// already, is one: XACK will find it gone and not count it.
func TestReader_CountsNoLossOfWhatItHolds(t *testing.T) {
	p, _ := newBare(t)
	c := stream.NewConsumer(nil, "s", "g", "c")
	p.waiters = map[*stream.Consumer]*waiter{c: {}}
	r := p.newReader(c, nil)
	held := entries(1, 2, 3)
	held[2].Trimmed = true
	r.inFlight = []*batch{{Batch: stream.Batch{Entries: held}}}
	r.reportTrimmed([]stream.ID{{Millis: 1}, {Millis: 3}, {Millis: 4}}, r.inFlightIDs())
	require.Equal(t, 2.0, testutil.ToFloat64(p.Metrics.LostPending.WithLabelValues("s")))
}
