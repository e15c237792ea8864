package pipeline

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/store"
	"processor/internal/stream"
)

func parkedItem(id uint64, bytes int) item {
	return item{outcome: parked, entry: &stream.Entry{ID: stream.ID{Millis: id}, Payload: []byte(strings.Repeat("x", bytes))}}
}

func ids(items []item) (ids []uint64) {
	for _, it := range items {
		ids = append(ids, it.entry.ID.Millis)
	}
	return ids
}

// The queue never holds more than its limits, refuses what does not fit at once, and takes one item of any
// size. What is only to be acknowledged always fits.
func TestParked_IsBounded(t *testing.T) {
	q := newParked(1000)
	require.True(t, q.put(parkedItem(1, 2000)), "alone it may be larger than the limit")
	require.False(t, q.put(parkedItem(2, 1)))
	require.Zero(t, q.room())
	q.drop(q.take(1)[0].entry.ID)
	require.Equal(t, maxParked, q.room())
	for i := range uint64(10) {
		require.True(t, q.put(parkedItem(10+i, 100)))
	}
	require.False(t, q.put(parkedItem(2, 1)), "bytes are full")
	stored := item{outcome: stored, entry: parkedItem(3, 500).entry}
	require.True(t, q.put(stored))
	require.Equal(t, 1, q.idsOnly())
	require.Equal(t, 11, q.len())

	many := newParked(1 << 30)
	for i := range uint64(maxParked) {
		require.True(t, many.put(parkedItem(i, 1)))
	}
	require.False(t, many.put(parkedItem(maxParked, 1)), "entries are full")
}

// Taken items are held, so that nobody reads them a second time, until they are put back or dropped.
func TestParked_HoldsWhatIsTaken(t *testing.T) {
	q := newParked(1 << 20)
	for i := range uint64(4) {
		q.put(parkedItem(i, 1))
	}
	group := q.take(3)
	require.Equal(t, []uint64{0, 1, 2}, ids(group))
	held := map[stream.ID]bool{}
	q.addTo(held)
	require.Len(t, held, 4)
	q.back(group[0])
	q.drop(group[1].entry.ID)
	q.drop(group[2].entry.ID)
	held = map[stream.ID]bool{}
	q.addTo(held)
	require.Equal(t, map[stream.ID]bool{{Millis: 0}: true, {Millis: 3}: true}, held)
	require.Equal(t, []uint64{3, 0}, ids(q.take(10)))
}

// An entry that Redis delivers again while it is parked, as after XGROUP SETID, is held until both are dropped, and then
// its room is free.
func TestParked_HoldsAnEntryTwice(t *testing.T) {
	q := newParked(1 << 20)
	for range 3 * maxParked {
		require.True(t, q.put(parkedItem(1, 10)))
		require.True(t, q.put(parkedItem(1, 10)))
		for left := 1; left >= 0; left-- {
			q.drop(q.take(1)[0].entry.ID)
			held := map[stream.ID]bool{}
			q.addTo(held)
			require.Len(t, held, min(left, 1))
		}
		require.Equal(t, maxParked, q.room())
		require.Zero(t, q.idsOnly())
	}
	require.Zero(t, q.bytes)
}

// An entry that is to be handled by itself comes by itself.
func TestParked_TakesUndecidedOneByOne(t *testing.T) {
	q := newParked(1 << 20)
	for i, o := range []outcome{parked, parked, undecided, undecided, parked} {
		it := parkedItem(uint64(i), 1)
		it.outcome = o
		q.put(it)
	}
	for _, want := range [][]uint64{{0, 1}, {2}, {3}, {4}, nil} {
		require.Equal(t, want, ids(q.take(100)))
	}
}

// A copy is parked: the batch's memory is used again.
func TestParked_OwnsItsMemory(t *testing.T) {
	q := newParked(1 << 20)
	it := parkedItem(1, 3)
	it.reject("not_json", "x", "")
	require.True(t, q.put(it))
	copy(it.entry.Payload, "abc")
	got := q.take(1)[0]
	require.Equal(t, "xxx", string(got.entry.Payload))
	require.Same(t, got.entry, got.err.(*refusal).letter.Entry)
}

// Rows that wait for their chunks are no fault.
func TestParked_NamesItsFault(t *testing.T) {
	q := newParked(1 << 20)
	chunks := parkedItem(1, 1)
	chunks.err = store.ErrManyChunks
	q.put(chunks)
	q.put(parkedItem(2, 1)) // returned before, and not tried yet
	require.NoError(t, q.fault())
	odd, refused := parkedItem(3, 1), errors.New("refused")
	odd.err = refused
	q.put(odd)
	require.Equal(t, refused, q.fault())
}

func TestParked_WaitsUntilNoMoreCome(t *testing.T) {
	q := newParked(1 << 20)
	q.put(parkedItem(1, 1))
	require.Equal(t, 1, q.wait(t.Context()))
	q.take(1)
	q.close()
	require.Zero(t, q.wait(t.Context()))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.Zero(t, newParked(1).wait(ended))
}

// Entries that cannot be handled by themselves now do not keep parked rows waiting.
func TestParked_PostponesUndecidedEntries(t *testing.T) {
	q := newParked(1 << 20)
	for i, o := range []outcome{undecided, parked, undecided, undecided, parked} {
		require.True(t, q.put(item{entry: &stream.Entry{ID: stream.ID{Seq: uint64(i)}, Payload: []byte("x")}, outcome: o}))
	}
	first := q.take(10)
	require.Len(t, first, 1)
	q.back(first[0])
	q.postpone()
	var order []uint64
	for q.len() > 0 {
		for _, it := range q.take(1) {
			order = append(order, it.entry.ID.Seq)
		}
	}
	require.Equal(t, []uint64{1, 4, 2, 3, 0}, order)
}
