package pipeline

import (
	"context"

	"processor/internal/stream"
)

// handRedelivered hands over the batch, but the entries that were delivered too often one by
// one, so that a fault in one cannot affect the others. It reports false when all work is
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
	if len(together.Entries) > 0 && !r.hand(work, &batch{Batch: together}) {
		return false, nil
	}
	for i := range alone {
		// One after the other, in the order of their ids: an entry that ends the process takes none
		// with it that stands before it.
		r.wait(ctx)
		if ctx.Err() != nil {
			return true, nil
		}
		r.loop.Beat()
		single := b
		single.Entries = alone[i : i+1]
		if !r.hand(work, &batch{Batch: single, lastChance: true, buried: r.fatal(counts[alone[i].ID])}) {
			return false, nil
		}
	}
	return true, nil
}

// fatal returns the deliveries of an entry that seems to end the process whenever it is decoded or
// written; 0 of one that does not. That is the first lone entry that this process meets, once it was
// delivered twice as often as makes it a lone one: all that time it was alone. Those behind it were
// delivered as often, but had no turn.
func (r *reader) fatal(deliveries int64) int64 {
	first := !r.metLone
	r.metLone = true
	if !first || deliveries <= 2*int64(r.pipeline.Options.MaxDeliveries) {
		return 0
	}
	return deliveries
}
