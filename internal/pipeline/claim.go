package pipeline

import (
	"context"
	"math/rand/v2"
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
		// Half of ClaimIdle on average, half of that jitter, so that replicas take turns.
		idle := r.pipeline.Options.ClaimIdle
		r.claimAt = time.Now().Add(idle/4 + rand.N(idle/2+1))
	}
	if claimed.Trimmed > 0 {
		r.pipeline.lost(r.consumer.Stream(), claimed.Trimmed)
	}
	b := r.without(claimed.Batch)
	if len(b.Entries) == 0 {
		return more, nil
	}
	r.pipeline.Metrics.Claimed.Add(float64(len(b.Entries)))
	r.logger.Info("entries that were pending for too long are taken over", "entries", len(b.Entries))
	r.size.observe(len(claimed.Entries), claimed.Bytes)
	_, err = r.handRedelivered(ctx, work, b)
	return more, err
}

// without leaves out what this process has in flight, or had just now.
func (r *reader) without(b stream.Batch) stream.Batch {
	if len(b.Entries) == 0 {
		return b
	}
	mine := map[stream.ID]bool{}
	for _, f := range r.flying {
		for i := range f.Entries {
			mine[f.Entries[i].ID] = true
		}
	}
	kept := b.Entries[:0]
	for _, entry := range b.Entries {
		if !mine[entry.ID] && !r.waits(entry.ID) {
			kept = append(kept, entry)
		}
	}
	b.Entries = kept
	return b
}

// waits tells whether the entry waits alone in this process.
func (r *reader) waits(id stream.ID) bool { return r.pipeline.waiters[r.consumer].holds(id) }

// handRedelivered hands over the batch, but the entries that were delivered too often one by
// one: whatever is wrong with them then meets nobody else. It reports false when all work is
// given up.
func (r *reader) handRedelivered(ctx, work context.Context, b stream.Batch) (bool, error) {
	counts, err := r.consumer.Deliveries(ctx, b)
	if err != nil {
		return false, err
	}
	together := b
	together.Entries = nil
	var alone []stream.Entry
	for _, entry := range b.Entries {
		if counts[entry.ID] > int64(r.pipeline.Options.MaxDeliveries) {
			alone = append(alone, entry)
			continue
		}
		together.Entries = append(together.Entries, entry)
	}
	if len(together.Entries) > 0 && !r.hand(work, together) {
		return false, nil
	}
	for i := range alone {
		single := b
		single.Entries = alone[i : i+1]
		ok := r.handBatch(work, &batch{Batch: single, consumer: r.consumer, lastChance: true, done: make(chan struct{})})
		if !ok {
			return false, nil
		}
	}
	return true, nil
}
