package pipeline

import (
	"context"
	"time"

	"processor/internal/retry"
)

// parkedGroup is how many parked entries are tried at once: few, so that one that takes long delays few.
const parkedGroup = 100

// retryWrites attempts to store what is parked, until no more comes. It has a worker and so a connection
// that nobody else uses: no batch waits for it.
func (l *lane) retryWrites(work context.Context) {
	defer close(l.written)
	w := l.pipeline.newWorker()
	s := newSingles(l)
	defer s.running.Wait()
	l.retry(work, l.writes, func(group []item) (progress bool) {
		if group[0].outcome == undecided {
			return s.attempt(work, group[0])
		}
		return l.retryGroup(work, w, group)
	})
}

// retryGroup attempts to store the group, and reports whether some of it needs no further attempt.
func (l *lane) retryGroup(work context.Context, w *worker, group []item) (progress bool) {
	b := &batch{lane: l, kind: retried, items: group}
	err := w.process(work, b)
	left := 0
	for _, it := range b.items {
		if it.outcome == parked {
			left++
		}
		l.move(it, l.writes)
	}
	w.forget()
	if l.writes.fault() == nil {
		l.incidents.parked.Recover()
	}
	return err == nil && left < len(group)
}

// retryReplies attempts to dead-letter or acknowledge what could not be, until no more comes.
func (l *lane) retryReplies(work context.Context, q *parkedItems) {
	f := finisher{pipeline: l.pipeline}
	l.retry(work, q, func(group []item) (progress bool) {
		progress = f.finish(work, l, group)
		for _, it := range group {
			l.move(it, q)
		}
		return progress
	})
}

// retry takes groups of a queue and attempts each. After one without progress it pauses, and goes on with
// small groups: an entry that fails by itself must not fail the others. When no more comes it tries
// everything once more; what is left then stays pending for the next start.
func (l *lane) retry(work context.Context, q *parkedItems, attempt func(group []item) (progress bool)) {
	pause := retry.NewBackOff()
	size := parkedGroup
	last := -1 // how many are to be tried before the end; -1 before that is known
	for {
		n := q.wait(work)
		if last < 0 && q.closed() {
			last = n
		}
		if n == 0 || last == 0 || work.Err() != nil {
			break
		}
		if last > 0 {
			size = min(size, last)
		}
		group := q.take(size)
		if last > 0 {
			last -= len(group)
		}
		if attempt(group) {
			pause.Reset()
			size = min(2*size, parkedGroup)
			continue
		}
		size = max(size/10, 1)
		q.pause(work, pause.NextBackOff())
	}
	if n := q.len(); n > 0 {
		l.logger.Warn("parked entries given up; they stay pending", "entries", n)
	}
}

// pause waits for so long, or until no more comes or ctx ends.
func (q *parkedItems) pause(ctx context.Context, d time.Duration) {
	_ = retry.SleepUntil(ctx, d, q.ended) // the caller sees that ctx has ended
}
