package pipeline

import (
	"io"
	"strings"
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

// What is in memory here is pending too, and Redis delivers it again: it must not be processed
// twice at once.
func TestLane_LeavesOutWhatIsInMemory(t *testing.T) {
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
		"parked":            {nil, entries(6, 7, 8, 9), entries(6, 9)},
		"released batches":  {[]*batch{inFlight()}, entries(1), entries(1)},
	}
	for name, c := range cases {
		l := &lane{flight: flight{inFlight: c.batches}, waiting: newWaiting(1 << 20)}
		parkedEntries := entries(7, 8)
		require.True(t, l.writes.put(item{entry: &parkedEntries[0], outcome: parked}))
		require.True(t, l.acks.put(item{entry: &parkedEntries[1], outcome: stored}))
		got := leaveOut(stream.Batch{Entries: c.found, Redelivered: true}, l.held())
		require.ElementsMatch(t, c.want, got.Entries, name)
		require.True(t, got.Redelivered)
	}
}

// What is in memory here is no loss; what is in flight only to be acknowledged, being trimmed
// already, is one: XACK will find it gone and not count it.
func TestLane_CountsNoLossOfWhatItHolds(t *testing.T) {
	p, _ := newBare(t)
	l := p.newLane(stream.NewConsumer(nil, "s", "g", "c"), nil)
	held := entries(1, 2, 3)
	held[2].Trimmed = true
	l.inFlight = []*batch{{Batch: stream.Batch{Entries: held}}}
	waiting := entries(5, 6)
	l.acks.put(item{entry: &waiting[0], outcome: stored})
	l.acks.put(item{entry: &waiting[1], outcome: lost})
	l.reportTrimmed([]stream.ID{{Millis: 1}, {Millis: 3}, {Millis: 4}, {Millis: 5}, {Millis: 6}}, l.held())
	require.Equal(t, 3.0, testutil.ToFloat64(p.Metrics.LostPending.WithLabelValues("s")))
}

// A connection that ends without a byte of a reply says nothing about limits: Redis restarts, or somebody kills it.
// Where a reply was cut its entries are pending, and one that is asked for by itself tells.
func TestLane_BlamesNoLimitForAClosedConnection(t *testing.T) {
	cases := map[string]struct {
		broken stream.BrokenReplyError
		blames bool
	}{
		"the connection ended":    {stream.BrokenReplyError{Entries: 1000}, false},
		"in the middle":           {stream.BrokenReplyError{Entries: 1000, Bytes: 5}, true},
		"an entry that was asked": {stream.BrokenReplyError{Entries: 1}, true},
	}
	for name, c := range cases {
		p, _ := newBare(t)
		l := p.newLane(stream.NewConsumer(nil, "s", "g", "c"), nil)
		c.broken.Err = io.ErrUnexpectedEOF
		l.failed(&c.broken)
		text := p.Health.Readiness().Checks["stream s"].Error
		require.Contains(t, text, "broke off", name)
		require.Equal(t, c.blames, strings.Contains(text, "client-output-buffer-limit"), name)
	}
}
