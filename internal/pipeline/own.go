package pipeline

import (
	"context"
	"slices"
	"time"

	"processor/internal/observe"
	"processor/internal/stream"
)

// ownEntries reads what was delivered to this consumer and never acknowledged: by this process before an
// error, by one before it under the same name, or what did not fit into memory when it had to be parked.
type ownEntries struct {
	lane *lane
	// assess: these are entries of an earlier process, which may have ended because of one of them.
	assess bool
	at     time.Time // when to try again what was put off
	// oneByOne: a reply did not arrive as a whole, and its entries are among these.
	oneByOne bool
	// cut is a reply of which no byte arrived; nil where there was none.
	cut *stream.BrokenReplyError

	// Of reading what was returned:
	after stream.ID // where it goes on
	found int       // how many were found since the beginning of the list
	debt  int       // how many were to be found then
}

// readAll hands over everything that is pending for this consumer and not in memory. Where that is to be
// assessed and cannot be, it is put off.
func (o *ownEntries) readAll(ctx, work context.Context) error {
	l := o.lane
	if o.assess {
		if time.Now().Before(o.at) {
			return nil
		}
		err := l.mayAssess(ctx)
		if l.refused(err) {
			o.at = l.claimTime()
			return nil
		}
		if err != nil {
			return err
		}
	}
	var after stream.ID
	total, seen, bytes := 0, 0, 0
	for l.mayRead(ctx) {
		count := l.new.size.count(0, 0)
		if o.oneByOne {
			count = 1
		}
		b, err := l.consumer.ReadPending(ctx, after, count)
		if err != nil {
			return err
		}
		if len(b.Entries) == 0 {
			break
		}
		after = b.Entries[len(b.Entries)-1].ID
		seen, bytes = seen+len(b.Entries), bytes+b.Bytes
		if !o.oneByOne {
			l.new.size.observe(len(b.Entries), b.Bytes)
		}
		b = leaveOut(b, l.held())
		total += len(b.Entries)
		if o.cut != nil && len(b.Entries) > 0 {
			l.askForFewer(o.cut)
			o.cut = nil
		}
		if err := l.handRedelivered(ctx, work, b, o.assess); err != nil {
			return err
		}
	}
	if o.oneByOne && seen > 0 {
		l.new.size.observe(seen, bytes) // a few small ones among them must not hide the large ones
	}
	o.oneByOne, o.cut = false, nil
	o.assess = o.assess && ctx.Err() != nil
	if total > 0 {
		l.logger.Info("entries that were pending for this consumer are read again", "entries", total)
	}
	return nil
}

// mayAssess returns an error where XPENDING is refused. It is tried before a read or claim, which counts as a
// delivery: otherwise a missing right would run that count up.
func (l *lane) mayAssess(ctx context.Context) error {
	probe := stream.Batch{Entries: []stream.Entry{{ID: stream.ID{Seq: 1}}}}
	_, err := l.consumer.Deliveries(ctx, probe)
	return err
}

// readReturned parks some of the entries that did not fit into memory before, once there is room, and
// reports whether there are more. They were parked when they were returned, so no worker tries them first.
func (o *ownEntries) readReturned(ctx context.Context) (more bool, err error) {
	l := o.lane
	room := min(l.writes.room(), l.letters.room())
	if room == 0 || o.assess || l.returned.Load() == 0 {
		return false, nil
	}
	if o.after == (stream.ID{}) {
		o.found, o.debt = 0, int(l.returned.Load())
	}
	b, err := l.consumer.ReadPending(ctx, o.after, min(l.new.size.count(0, 0), room))
	if err != nil {
		return false, err
	}
	if len(b.Entries) == 0 {
		// The others were taken over by another worker, or trimmed, meanwhile.
		gone := max(o.debt-o.found, 0)
		l.returned.Add(-int64(gone))
		l.pipeline.Ledger.Settle(observe.Unchanged, gone)
		o.after = stream.ID{}
		return false, nil
	}
	o.after = b.Entries[len(b.Entries)-1].ID
	l.new.size.observe(len(b.Entries), b.Bytes)
	b = leaveOut(b, l.held())
	o.found += len(b.Entries)
	l.readAgain(b)
	for i := range b.Entries {
		l.park(item{entry: &b.Entries[i]}, parked)
	}
	return true, nil
}

// readAgain counts entries of the own pending list as read, but for those that were counted before they
// were returned.
func (l *lane) readAgain(b stream.Batch) {
	n := l.count(&batch{Batch: b})
	before := min(int(l.returned.Load()), n)
	l.returned.Add(-int64(before))
	l.pipeline.Ledger.Read(l.name(), n-before)
}

// handRedelivered hands over entries of the own pending list or claimed ones. With assess, those that were
// delivered too often are parked instead: they are handled one by one, so that a fault in one cannot affect
// the others.
func (l *lane) handRedelivered(ctx, work context.Context, b stream.Batch, assess bool) error {
	if len(b.Entries) == 0 {
		return nil
	}
	var counts map[stream.ID]int64
	if assess {
		var err error
		if counts, err = l.consumer.Deliveries(ctx, b); err != nil {
			return err
		}
	}
	l.readAgain(b)
	all := len(b.Entries)
	b.Entries = slices.DeleteFunc(b.Entries, func(e stream.Entry) bool {
		if e.Trimmed || counts[e.ID] <= int64(l.pipeline.Options.MaxDeliveries) {
			return false
		}
		l.park(item{entry: &e}, undecided)
		return true
	})
	if often := all - len(b.Entries); often > 0 {
		l.logger.Info("entries were delivered too often; handling them one by one", "entries", often)
	}
	if len(b.Entries) > 0 && !l.handCounted(work, &batch{Batch: b, kind: redelivered}) {
		return context.Cause(work)
	}
	return nil
}

// leaveOut takes entries out of a batch, in place.
func leaveOut(b stream.Batch, ids map[stream.ID]bool) stream.Batch {
	b.Entries = slices.DeleteFunc(b.Entries, func(e stream.Entry) bool {
		_, found := ids[e.ID]
		return found
	})
	return b
}
