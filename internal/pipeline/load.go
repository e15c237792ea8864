package pipeline

import (
	"context"
	"time"
)

// load is what a worker takes at once: a batch, or small ones of several streams (see rounds).
type load []*batch

// tookOff says that a worker has the batches.
func (l load) tookOff() {
	now := time.Now()
	for _, b := range l {
		b.handed = now
		close(b.taken)
	}
}

// run takes loads until no more come. What one stream has trouble with at the end delays no other one's batch.
func (w *worker) run(work context.Context, loads <-chan load) {
	for batches := range loads {
		err := w.store(work, batches...)
		var rest load
		for _, b := range batches {
			if err == nil && b.allStored() {
				b.unacknowledged = true // the lane sends XACK with its next read
				close(b.done)
			} else {
				rest = append(rest, b)
			}
		}
		for _, b := range rest {
			if err != nil {
				b.lane.logger.Warn("batch given up; its entries stay pending", "entries", len(b.Entries), "error", err)
			} else {
				w.finish(work, b)
			}
			w.leave(b)
		}
		w.forget()
	}
}

// leave gives the batch back to its lane, and with it what is not finished.
func (w *worker) leave(b *batch) {
	for i := range b.items {
		if !b.lane.place(b.items[i], nil) {
			b.returned++
		}
	}
	close(b.done)
}

// allStored reports whether all that is left to do is XACK.
func (b *batch) allStored() bool {
	for i := range b.items {
		if b.items[i].outcome != stored {
			return false
		}
	}
	return true
}
