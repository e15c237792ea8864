package pipeline

import (
	"errors"

	"processor/internal/store"
)

// waiting is what a lane has parked, each queue retried by itself: what fails in one delays no other.
type waiting struct {
	writes  *parkedItems  // parked, or undecided: to be handled by itself
	letters *parkedItems  // rejected, to be dead-lettered
	acks    *parkedItems  // stored or lost, to be acknowledged
	written chan struct{} // closed when nothing more comes from writes
	moved   *seldom       // dead letters that are to be logged
}

func newWaiting(maxBytes int) waiting {
	return waiting{
		writes:  newParked(maxBytes),
		letters: newParked(maxBytes),
		acks:    newParked(maxBytes),
		written: make(chan struct{}),
		moved:   &seldom{},
	}
}

// queue returns where an item with this outcome waits; nil where it does not.
func (w *waiting) queue(o outcome) *parkedItems {
	switch o {
	case undecided, parked:
		return w.writes
	case rejected:
		return w.letters
	case stored, lost:
		return w.acks
	default:
		return nil
	}
}

// faulty reports whether the item is parked because of a fault.
func (i *item) faulty() bool {
	return i.outcome == parked && i.err != nil && !errors.Is(i.err, store.ErrManyChunks)
}

// place puts an item where its outcome says, after an attempt. It comes from a worker, where from is nil,
// or was taken from a queue. It reports false where there is no room.
func (l *lane) place(it item, from *parkedItems) bool {
	to := l.queue(it.outcome)
	if it.outcome == undecided { // work is over
		to = from
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
	if !l.queue(it.outcome).put(it) {
		l.returned.Add(1)
	}
}
