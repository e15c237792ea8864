package pipeline

import (
	"testing"

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
