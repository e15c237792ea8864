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
		sources:   []int{0},
		letters:   []stream.Letter{{Entry: entry}},
		acks:      []stream.ID{{Millis: 1}},
		trimmed:   []stream.ID{{Millis: 2}},
	}
	w.forget()
	for _, n := range []int{len(w.positions), len(w.sources), len(w.letters), len(w.acks), len(w.trimmed)} {
		require.Zero(t, n)
	}
	require.Equal(t, []position.Position{{}, {}}, w.positions[:2])
	require.Equal(t, []stream.Letter{{}}, w.letters[:1])
}
