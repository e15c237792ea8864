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
	shared   chan<- load // to the workers of all lanes
	loads    chan load   // to the lane's own worker
	inFlight []*batch    // handed over, and not released
	// unacknowledged are stored entries of released batches: the next read acknowledges them.
	unacknowledged stream.Acks

	// returned counts the entries that were to be parked and did not fit: they are in flight in the ledger,
	// and pending in Redis alone. It never counts an entry that is in memory.
	returned atomic.Int64
}

// launch notes a batch that is to be handed over.
func (f *flight) launch(b *batch) {
	b.taken, b.done = make(chan struct{}), make(chan struct{})
	f.inFlight = append(f.inFlight, b)
}

// offer hands a load over where a worker is free.
func (f *flight) offer(batches load) bool {
	select {
	case f.shared <- batches:
	case f.loads <- batches:
	default:
		return false
	}
	batches.tookOff()
	return true
}

// give waits for a worker to take the load. It reports false when work ends first.
func (f *flight) give(work context.Context, loop *observe.Loop, batches load) bool {
	ticker := time.NewTicker(beatInterval)
	defer ticker.Stop()
	for {
		select {
		case f.shared <- batches:
		case f.loads <- batches:
		case <-ticker.C:
			loop.Beat()
			continue
		case <-work.Done():
			return false
		}
		batches.tookOff()
		return true
	}
}

// release gives back the memory of the batches that are done, before the next reply needs some.
func (f *flight) release() {
	f.inFlight = slices.DeleteFunc(f.inFlight, func(b *batch) bool {
		select {
		case <-b.done:
			if b.unacknowledged {
				f.unacknowledged.IDs = appendIDs(f.unacknowledged.IDs, b.Entries)
			}
			b.Release()
			f.returned.Add(b.returned)
			return true
		default:
			return false
		}
	})
}

func appendIDs(ids []stream.ID, entries []stream.Entry) []stream.ID {
	for i := range entries {
		ids = append(ids, entries[i].ID)
	}
	return ids
}

// settle returns when no batch is in flight, but for those that take longer than so much, or when ctx ends. It
// reports whether there are none.
func (f *flight) settle(ctx context.Context, loop *observe.Loop, timeout time.Duration) bool {
	for _, b := range f.inFlight {
		await(ctx, loop, b, timeout)
	}
	f.release()
	return len(f.inFlight) == 0
}

// recent reports whether a batch is in flight that does not take long yet.
func (f *flight) recent() bool {
	f.release()
	return slices.ContainsFunc(f.inFlight, func(b *batch) bool {
		select {
		case <-b.taken:
			return time.Since(b.handed) < trickleTimeout
		default:
			return true
		}
	})
}

// await waits for a worker to take the batch, and then so long for the worker to be through with it.
func await(ctx context.Context, loop *observe.Loop, b *batch, timeout time.Duration) {
	if !awaitUntil(ctx, loop, b.taken, nil) {
		return
	}
	enough := time.NewTimer(time.Until(b.handed.Add(timeout)))
	defer enough.Stop()
	awaitUntil(ctx, loop, b.done, enough.C)
}

// awaitUntil reports whether done was closed before enough and ctx.
func awaitUntil(ctx context.Context, loop *observe.Loop, done <-chan struct{}, enough <-chan time.Time) bool {
	ticker := time.NewTicker(beatInterval)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return true
		case <-ticker.C:
			loop.Beat()
		case <-enough:
			return false
		case <-ctx.Done():
			return false
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
	for _, id := range f.unacknowledged.IDs {
		ids[id] = true
	}
}
