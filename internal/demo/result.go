package demo

import (
	"fmt"

	"processor/internal/observe"
)

// result holds the final counts of a demo.
type result struct {
	published   uint64 // acknowledged by Redis
	unconfirmed uint64 // sent, but Redis's reply was lost: any number of them may be on the stream
	stored      uint64 // rows in the table
	ledger      observe.LedgerSnapshot
}

// check compares published positions with stored rows. Its errors give both counts.
func (r result) check() error {
	switch {
	case r.stored < r.published:
		return fmt.Errorf("published %d positions but stored %d rows: %d are missing (%d were dead-lettered)",
			r.published, r.stored, r.published-r.stored, r.ledger.DeadLettered)
	case r.stored > r.published+r.unconfirmed:
		return fmt.Errorf("published %d positions but stored %d rows: %d are too many",
			r.published, r.stored, r.stored-r.published-r.unconfirmed)
	case !r.ledger.Balanced():
		return fmt.Errorf("published %d positions and stored %d rows, but the ledger does not balance: %s",
			r.published, r.stored, r.ledger)
	}
	return nil
}

// String describes a result for which check returned nil.
func (r result) String() string {
	if r.unconfirmed > 0 {
		return fmt.Sprintf("published %d positions, and up to %d more that Redis did not confirm; stored %d rows: nothing is missing",
			r.published, r.unconfirmed, r.stored)
	}
	return fmt.Sprintf("published %d positions, stored %d rows: equal", r.published, r.stored)
}
