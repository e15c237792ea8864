package pipeline

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"processor/internal/stream"
)

// claim takes over what other consumers left pending for too long: a pod that is gone, or one
// that hangs. One page of the pending list a call, the cursor carried, so that claiming never
// keeps new entries waiting for long. Nothing is claimed while batches are held because of the
// database: every claim counts as a delivery, and an outage would run those counts up. It reports
// whether there are further pages.
func (r *reader) claim(ctx, work context.Context) (more bool, err error) {
	if time.Now().Before(r.claimAt) || !r.pipeline.Store.Healthy() {
		return false, nil
	}
	claimed, err := r.consumer.Claim(ctx, r.pipeline.Options.ClaimIdle, r.cursor, r.size.count(0, 0))
	if err != nil {
		return false, err
	}
	r.cursor = claimed.Next
	more = !r.cursor.AtBeginning()
	if !more {
		// Between a quarter and three quarters of ClaimIdle, so that replicas take turns.
		idle := r.pipeline.Options.ClaimIdle
		r.claimAt = time.Now().Add(idle/4 + rand.N(idle/2+1))
	}
	mine := r.inFlightIDs()
	r.reportTrimmed(claimed.Trimmed, mine)
	b := leaveOut(claimed.Batch, mine)
	if len(b.Entries) == 0 {
		return more, nil
	}
	r.pipeline.Metrics.Claimed.Add(float64(len(b.Entries)))
	r.logger.Info("entries that were pending for too long are taken over", "entries", len(b.Entries))
	r.size.observe(len(claimed.Entries), claimed.Bytes)
	_, err = r.handRedelivered(ctx, work, b)
	return more, err
}

// reportTrimmed counts pending entries of which Redis has nothing left. Those that are in flight
// here are no loss: they are in memory, and become rows all the same. What another replica holds
// cannot be seen from here.
func (r *reader) reportTrimmed(trimmed []stream.ID, mine map[stream.ID]bool) {
	gone := 0
	for _, id := range trimmed {
		if !mine[id] {
			gone++
		}
	}
	if gone == 0 {
		return
	}
	r.pipeline.Metrics.LostPending.WithLabelValues(r.consumer.Stream()).Add(float64(gone))
	r.logger.Error("pending entries were trimmed from the stream; they may be lost: unless a live replica still holds them", "entries", gone)
}

// inFlightIDs are the entries that this process has in flight, or had just now, and those whose
// rows wait alone: true where it has more than the id of them.
func (r *reader) inFlightIDs() map[stream.ID]bool {
	ids := map[stream.ID]bool{}
	for _, b := range r.inFlight {
		for i := range b.Entries {
			ids[b.Entries[i].ID] = !b.Entries[i].Trimmed
		}
	}
	r.pipeline.waiters[r.consumer].addTo(ids)
	return ids
}

// leaveOut takes entries out of a batch, in place.
func leaveOut(b stream.Batch, ids map[stream.ID]bool) stream.Batch {
	b.Entries = slices.DeleteFunc(b.Entries, func(e stream.Entry) bool {
		_, found := ids[e.ID]
		return found
	})
	return b
}
