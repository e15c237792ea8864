package pipeline

import (
	"context"

	"processor/internal/stream"
)

// handNew counts the entries as read and hands them over, at the trickle with the next round. It reports false
// when all work is given up: the entries then stay pending.
func (l *lane) handNew(ctx, work context.Context, entries stream.Batch, trickle bool) bool {
	b := &batch{Batch: entries, kind: fresh}
	l.pipeline.Ledger.Read(l.name(), l.count(b))
	if !trickle {
		return l.handCounted(work, b)
	}
	l.launch(b)
	batches := l.pipeline.rounds.join(ctx, b)
	return batches == nil || l.handOver(work, batches)
}

// handCounted waits for a worker to take a batch whose entries are counted as read.
func (l *lane) handCounted(work context.Context, b *batch) bool {
	l.launch(b)
	return l.handOver(work, load{b})
}

// launch notes a batch that is to be handed over.
func (l *lane) launch(b *batch) {
	b.lane = l
	l.flight.launch(b)
	l.pipeline.step(Read)
}

// handOver waits for a worker to take the load. No XACK waits for that.
func (l *lane) handOver(work context.Context, batches load) bool {
	if l.offer(batches) {
		return true
	}
	l.release()
	l.acknowledge(work)
	return l.give(work, l.loop, batches)
}
