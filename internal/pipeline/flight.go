package pipeline

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"processor/internal/observe"
	"processor/internal/stream"
)

const (
	// beatInterval is how often a reader that waits for a worker says that it is alive.
	beatInterval = time.Second
	// maxSilence is how long a reader may go without a beat before /healthz fails. A read that
	// hangs takes the client's timeout and a reconnect.
	maxSilence = 30 * time.Second
	// trickleTimeout is how long the next read waits for a batch in flight. One that takes longer is held
	// up, perhaps by a single row: what comes after it is then read and written concurrently.
	trickleTimeout = time.Second
	// inFlightTimeout is how long reading pending entries waits for the batches in flight, which are
	// pending too.
	inFlightTimeout = 10 * time.Second
)

// flight are the batches of a lane that workers have. The reading goroutine alone uses it.
type flight struct {
	shared   chan<- *batch // to the workers of all lanes
	batches  chan *batch   // to the lane's own worker
	inFlight []*batch      // handed over, and not released

	// returned counts the entries that were to be parked and did not fit: they are in flight in the ledger,
	// and pending in Redis alone. It never counts an entry that is in memory.
	returned atomic.Int64
}

// give waits for a worker to take the batch. It reports false when work ends first.
func (f *flight) give(work context.Context, loop *observe.Loop, b *batch) bool {
	ticker := time.NewTicker(beatInterval)
	defer ticker.Stop()
	for {
		select {
		case f.shared <- b:
		case f.batches <- b:
		case <-ticker.C:
			loop.Beat()
			continue
		case <-work.Done():
			return false
		}
		f.release()
		b.handed = time.Now()
		f.inFlight = append(f.inFlight, b)
		return true
	}
}

// release gives back the memory of the batches that are done, before the next reply needs some.
func (f *flight) release() {
	f.inFlight = slices.DeleteFunc(f.inFlight, func(b *batch) bool {
		select {
		case <-b.done:
			b.Release()
			f.returned.Add(b.returned)
			return true
		default:
			return false
		}
	})
}

// settle returns when no batch is in flight, but for those that take longer than so much, or when ctx ends.
func (f *flight) settle(ctx context.Context, loop *observe.Loop, timeout time.Duration) {
	for _, b := range f.inFlight {
		await(ctx, loop, b, timeout)
	}
	f.release()
}

func await(ctx context.Context, loop *observe.Loop, b *batch, timeout time.Duration) {
	enough := time.NewTimer(time.Until(b.handed.Add(timeout)))
	defer enough.Stop()
	ticker := time.NewTicker(beatInterval)
	defer ticker.Stop()
	for {
		select {
		case <-b.done:
			return
		case <-ticker.C:
			loop.Beat()
		case <-enough.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// addTo adds the ids of what is in flight, or was just now: true where more than the id is left.
func (f *flight) addTo(ids map[stream.ID]bool) {
	for _, b := range f.inFlight {
		for i := range b.Entries {
			ids[b.Entries[i].ID] = !b.Entries[i].Trimmed
		}
	}
}
