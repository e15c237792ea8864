package pipeline

import (
	"errors"

	"processor/internal/store"
)

// waiting is what a lane has parked: for the database, and for Redis.
type waiting struct {
	writes  *parkedItems  // parked, or undecided: to be handled by itself
	replies *parkedItems  // stored or lost, to be acknowledged; rejected, to be dead-lettered
	written chan struct{} // closed when nothing more comes from writes
}

func newWaiting(maxBytes int) waiting {
	return waiting{writes: newParked(maxBytes), replies: newParked(maxBytes), written: make(chan struct{})}
}

// faulty reports whether the item is parked because of a fault.
func (i *item) faulty() bool {
	return i.outcome == parked && i.err != nil && !errors.Is(i.err, store.ErrManyChunks)
}

// place puts an item where its outcome says, after an attempt. It comes from a worker, where from is nil,
// or was taken from a queue. It reports false where there is no room.
func (l *lane) place(it item, from *parkedItems) bool {
	var to *parkedItems
	switch it.outcome {
	case parked:
		to = l.writes
	case stored, rejected, lost:
		to = l.replies
	case undecided: // work is over
		to = from
	case finished:
	}
	if it.faulty() {
		l.incidents.parked.Fail(it.err, "entry", it.entry.ID.String(), "class", store.Classify(it.err))
	}
	if to != nil && to == from {
		from.back(it)
		return true
	}
	room := to == nil || to.put(it)
	if from != nil {
		from.drop(it.entry.ID)
	}
	return room
}

// move is place for an item that was taken from a queue.
func (l *lane) move(it item, from *parkedItems) {
	if !l.place(it, from) {
		l.returned.Add(1)
	}
}

// park puts an entry that was read into a queue without an attempt.
func (l *lane) park(it item, as outcome) {
	switch {
	case it.entry.Trimmed:
		it.outcome = lost
	case it.entry.Oversize > 0:
		it.oversized()
	default:
		it.outcome = as
	}
	to := l.writes
	if it.outcome == lost || it.outcome == rejected {
		to = l.replies
	}
	if !to.put(it) {
		l.returned.Add(1)
	}
}
