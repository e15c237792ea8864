package pipeline

import (
	"context"

	"processor/internal/observe"
	"processor/internal/stream"
)

// finisher tells Redis the end of items: XACK, or a dead letter, which acknowledges too. Its buffers
// serve the next ones.
type finisher struct {
	pipeline *Pipeline
	ids      []stream.ID
	letters  []stream.Letter
	rejected []*item // rejected[i] has letters[i]
}

// finish does both, and reports whether nothing failed.
func (f *finisher) finish(work context.Context, l *lane, items []item) bool {
	f.acknowledge(work, l, items)
	f.deadLetter(work, l, items)
	for i := range items {
		if items[i].outcome != finished {
			return false
		}
	}
	return true
}

// acknowledge acknowledges what is stored, and what is lost. Where that fails the items stay as they are.
func (f *finisher) acknowledge(work context.Context, l *lane, items []item) {
	if _, ok := f.ack(work, l, items, stored); !ok {
		return
	}
	// Another replica's XAUTOCLAIM may have found them gone first: then it counts them.
	if n, _ := f.ack(work, l, items, lost); n > 0 {
		f.pipeline.Metrics.LostPending.WithLabelValues(l.name()).Add(float64(n))
		l.logger.Error("pending entries were trimmed from the stream before they were stored; they are lost", "entries", n)
	}
}

// ack acknowledges the items with the outcome, and returns how many were pending.
func (f *finisher) ack(work context.Context, l *lane, items []item, of outcome) (n int, ok bool) {
	f.ids = f.ids[:0]
	for i := range items {
		if items[i].outcome == of {
			f.ids = append(f.ids, items[i].entry.ID)
		}
	}
	if len(f.ids) == 0 {
		return 0, true
	}
	n, err := l.consumer.Ack(work, f.ids)
	if err != nil && work.Err() != nil {
		return 0, false
	}
	if err != nil {
		l.incidents.acknowledge.Fail(err, "entries", len(f.ids))
		return 0, false
	}
	l.incidents.acknowledge.Recover()
	for i := range items {
		if items[i].outcome == of {
			items[i].outcome = finished
		}
	}
	return n, true
}

// deadLetter copies rejected items to the dead-letter queue, and reports whether there were some and it
// worked. Where it fails they stay rejected.
func (f *finisher) deadLetter(work context.Context, l *lane, items []item) bool {
	defer f.forget()
	for i := range items {
		if refusal, is := items[i].err.(*refusal); is && items[i].outcome == rejected {
			f.letters = append(f.letters, refusal.letter)
			f.rejected = append(f.rejected, &items[i])
		}
	}
	if len(f.letters) == 0 {
		return false
	}
	written, err := l.consumer.DeadLetter(work, f.letters)
	for i, it := range f.rejected {
		it.err.(*refusal).letter = f.letters[i] // what it knows of this attempt is of use to the next one
	}
	if err != nil && work.Err() != nil {
		return false
	}
	if err != nil {
		l.incidents.deadLetters.Fail(err, "entries", len(f.letters))
		return false
	}
	l.incidents.deadLetters.Recover()
	f.count(l, written)
	return true
}

// count counts the dead letters that this process has written. The others were there before.
func (f *finisher) count(l *lane, written []bool) {
	ours := 0
	var first *stream.Letter
	for i, it := range f.rejected {
		it.outcome = finished
		letter := &f.letters[i]
		if !written[i] {
			l.logger.Debug("entry was dead-lettered before", "entry", letter.Entry.ID.String())
			continue
		}
		if ours++; first == nil {
			first = letter
		}
		f.pipeline.Metrics.DeadLetters.WithLabelValues(letter.Reason).Inc()
		l.logger.Debug("entry dead-lettered", "entry", letter.Entry.ID.String(), "reason", letter.Reason, "detail", letter.Detail)
	}
	f.pipeline.Ledger.Settle(observe.DeadLettered, ours)
	f.pipeline.Ledger.Settle(observe.Unchanged, len(f.rejected)-ours)
	if first == nil {
		return
	}
	if n := l.moved.add(int64(ours)); n > 0 { // not its detail, which may hold values of the entry
		l.logger.Warn("entries moved to the dead-letter queue", "entries", n,
			"entry", first.Entry.ID.String(), "reason", first.Reason, "sqlstate", first.SQLState)
	}
}

func (f *finisher) forget() {
	clear(f.letters)
	clear(f.rejected)
	f.letters, f.rejected = f.letters[:0], f.rejected[:0]
}
