package pipeline

import (
	"errors"
	"fmt"
	"time"

	"processor/internal/position"
	"processor/internal/store"
	"processor/internal/stream"
)

// kind is how the entries of a batch came here, which decides how they are handled.
type kind int

const (
	fresh       kind = iota // never delivered before
	redelivered             // delivered before, so their rows may be there
	single                  // one entry that was delivered over --max-deliveries times
	quarantined             // one entry that seems to end the process: it is not decoded
	retried                 // parked before
)

// outcome is what is known of an entry.
type outcome int

const (
	undecided outcome = iota
	stored            // its row is committed; XACK is to follow
	rejected          // it cannot be a row; its dead letter is to follow. err is a *refusal
	parked            // not stored yet, while others are; err says why
	lost              // it was trimmed while it was pending; XACK is to follow
	finished          // nothing is left to do
)

// item is an entry on its way.
type item struct {
	entry   *stream.Entry
	outcome outcome
	err     error
}

// reject decides that the entry becomes a dead letter.
func (i *item) reject(reason position.Reason, detail, sqlState string) {
	i.outcome = rejected
	i.err = &refusal{stream.Letter{Entry: i.entry, Reason: string(reason), Detail: detail, SQLState: sqlState}}
}

// refusal is why an entry cannot be a row: its dead letter.
type refusal struct{ letter stream.Letter }

// Error implements error.
func (r *refusal) Error() string { return r.letter.Reason + ": " + r.letter.Detail }

// undecodable decides what an error of decoding means.
func (i *item) undecodable(err error) {
	reason := position.NotJSON
	var e *position.Error
	if errors.As(err, &e) {
		reason = e.Reason
	}
	i.reject(reason, err.Error(), "")
}

// refused decides what a rejection by the database means.
func (i *item) refused(r *store.Rejection) {
	reason := position.RejectedByDatabase
	if r.Class != store.BadRow {
		reason = position.DeliveredTooOften
	}
	i.reject(reason, r.Detail(), r.SQLState)
}

// oversized decides that an entry of which only the beginning is in memory is not decoded.
func (i *item) oversized() {
	i.reject(position.TooLarge, fmt.Sprintf("entry %s has %d bytes, more than --max-entry-bytes; this letter holds its first fields and the first 4096 bytes of each value",
		i.entry.ID, i.entry.Oversize), "")
}

// batch is what is read at once, on its way through a worker.
type batch struct {
	stream.Batch
	lane *lane
	kind kind
	// items are the entries, in their order, from when a worker has the batch.
	items []item
	// mark, where set, is the mark of the batch's single entry.
	mark *mark
	// returned counts the items that were to be parked and did not fit.
	returned int64
	// unacknowledged: all entries are stored, and the lane acknowledges them with its next read.
	unacknowledged bool
	visit
}

// visit is a batch's time with a worker.
type visit struct {
	handed time.Time     // set before taken is closed
	taken  chan struct{} // closed when a worker has it
	done   chan struct{} // closed when the worker is through with it, however that ended
}
