package pipeline

import (
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/position"
	"processor/internal/stream"
)

// Redis's replies are used again when the batch is done, and an idle worker must not hold the last
// one.
func TestWorker_ForgetsItsBatch(t *testing.T) {
	entry := &stream.Entry{Payload: []byte("x")}
	w := worker{
		positions: []position.Position{{Attributes: entry.Payload}, {Attributes: entry.Payload}}[:1], // one was rejected
		rows:      []row{{item: &item{entry: entry}}, {item: &item{entry: entry}}}[:1],
		items:     []item{{entry: entry}},
	}
	w.finisher.letters = []stream.Letter{{Entry: entry}}
	w.finisher.rejected = []*item{{entry: entry}}
	w.forget()
	w.finisher.forget()
	for _, n := range []int{len(w.positions), len(w.rows), len(w.items), len(w.finisher.letters), len(w.finisher.rejected)} {
		require.Zero(t, n)
	}
	require.Equal(t, []position.Position{{}, {}}, w.positions[:2])
	require.Equal(t, []row{{}, {}}, w.rows[:2])
	require.Equal(t, []item{{}}, w.items[:1])
	require.Equal(t, []stream.Letter{{}}, w.finisher.letters[:1])
	require.Equal(t, []*item{nil}, w.finisher.rejected[:1])
}

func TestWorker_KeepsWhatIsStored(t *testing.T) {
	items := []item{{outcome: stored}, {outcome: rejected}, {outcome: stored}, {outcome: parked}, {outcome: stored}}
	w := worker{}
	for i := range items {
		w.positions = append(w.positions, position.Position{Priority: uint8(i)})
		w.rows = append(w.rows, row{&items[i], nil})
	}
	w.keepStored()
	require.Equal(t, []position.Position{{Priority: 0}, {Priority: 2}, {Priority: 4}}, w.positions)
	require.Equal(t, []row{{&items[0], nil}, {&items[2], nil}, {&items[4], nil}}, w.rows)
}

// An entry of which only the beginning is in memory is not decoded, however good the beginning is, and
// one that was trimmed has nothing to decode.
func TestWorker_AdmitsWhatCanBeDecoded(t *testing.T) {
	b := &batch{Batch: stream.Batch{Entries: entries(1, 2, 3)}}
	b.Entries[1].Trimmed = true
	b.Entries[2].Oversize = 5 << 20
	w := worker{pipeline: &Pipeline{}}
	w.admit(b)
	require.Equal(t, []outcome{undecided, lost, rejected}, []outcome{b.items[0].outcome, b.items[1].outcome, b.items[2].outcome})
	letter := b.items[2].err.(*refusal).letter
	require.Equal(t, stream.Letter{
		Entry: &b.Entries[2], Reason: "too_large",
		Detail: "entry 3-0 has 5242880 bytes, more than --max-entry-bytes; this letter holds its first fields and the first 4096 bytes of each value",
	}, letter)
	w.decode(b)
	require.Equal(t, []outcome{rejected, lost, rejected}, []outcome{b.items[0].outcome, b.items[1].outcome, b.items[2].outcome})
	require.Equal(t, "not_json", b.items[0].err.(*refusal).letter.Reason)
}
