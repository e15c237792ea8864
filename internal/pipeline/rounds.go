package pipeline

import (
	"context"
	"sync"
	"time"

	"processor/internal/retry"
)

const (
	// roundWindow is how long a round that is due waits for as many batches as those before it had.
	roundWindow = 2 * time.Millisecond
	// maxLinger bounds the time between two rounds where the group has many consumers.
	maxLinger = 50 * time.Millisecond
	// apartFor is how long each stream is written by itself after a common transaction took long.
	apartFor = time.Minute
)

// rounds lets the lanes that have no backlog read at the same moments, and write what they read in one
// transaction: several streams then cost the database no more commits than one. It is safe for concurrent use.
type rounds struct {
	linger time.Duration // between two rounds, for each consumer of the group
	most   amount        // in a round

	mu       sync.Mutex
	gathers  *round
	last     time.Time // when the last round was due
	expected int       // batches of a round
	crowd    int       // consumers of the group, as last seen
	apart    time.Time // until when each batch goes by itself
}

// round is a load that gathers.
type round struct {
	due   time.Time
	load  load
	has   amount
	whole chan struct{} // closed when the load has as many batches as are expected
}

// amount is what a load weighs.
type amount struct{ entries, bytes int }

// join adds a batch to the round that gathers. The lane whose batch is the first one waits until the round is due
// and complete, and gets what there is to hand over; any other lane gets nothing, and its batch is handed over for it.
func (r *rounds) join(ctx context.Context, b *batch) load {
	ours, leads := r.add(time.Now(), b)
	if ours == nil {
		return load{b}
	}
	if !leads {
		return nil
	}
	_ = retry.Sleep(ctx, time.Until(ours.due)) // a stop ends the round early
	_ = retry.SleepUntil(ctx, time.Until(ours.due.Add(roundWindow)), ours.whole)
	return r.end(ours)
}

// add returns the round that the batch is in, nil where it goes by itself, and whether it is the first one.
func (r *rounds) add(now time.Time, b *batch) (in *round, leads bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Before(r.apart) {
		r.last = now
		return nil, false
	}
	in = r.gathers
	if in == nil {
		in = &round{due: r.next(), whole: make(chan struct{})}
		if in.due.After(now) {
			r.expected++ // this one came too late for the last round
		} else {
			in.due = now
		}
		r.gathers, leads = in, true
	}
	with := amount{in.has.entries + len(b.Entries), in.has.bytes + b.Bytes}
	if !leads && (with.entries > r.most.entries || with.bytes > r.most.bytes) {
		return nil, false
	}
	in.load, in.has = append(in.load, b), with
	if len(in.load) == max(r.expected, 1) {
		close(in.whole)
	}
	return in, leads
}

func (r *rounds) end(in *round) load {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gathers, r.last = nil, in.due
	r.expected = max(len(in.load), r.expected-1) // a stream may have nothing now and something the next time
	return in.load
}

// next returns when the next round is due. The caller holds the lock.
func (r *rounds) next() time.Time {
	crowd := time.Duration(max(r.crowd, 1))
	return r.last.Add(min(crowd*r.linger, max(r.linger, maxLinger)))
}

// wait waits for the next round, or until ctx ends.
func (r *rounds) wait(ctx context.Context) {
	r.mu.Lock()
	next := r.next()
	r.mu.Unlock()
	_ = retry.Sleep(ctx, time.Until(next)) // the loop of the lane sees that ctx has ended
}

// see notes how many consumers a group has: all of them together commit as often as one would.
func (r *rounds) see(consumers int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.crowd = consumers
}

// separate keeps streams apart for a while: one of them may be what took long.
func (r *rounds) separate() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.apart = time.Now().Add(apartFor)
}
