package pipeline

import (
	"context"
	"time"

	"processor/internal/stream"
)

// newEntries reads what no consumer of the group has had.
type newEntries struct {
	lane   *lane
	size   sizer
	joined bool // the group was there before

	lostLog seldom
}

// join makes sure of the group, and looks for entries that were trimmed unread while nobody looked.
// What fails here lasts, and is the watcher's to report, or will fail the read.
func (n *newEntries) join(ctx context.Context) error {
	l := n.lane
	created, err := l.consumer.EnsureGroup(ctx)
	if err != nil {
		return err
	}
	n.reportGroup(created)
	if _, err := l.pipeline.countTrimmed(ctx, l.consumer); err != nil {
		l.logger.Debug("trimmed entries cannot be counted", "error", err)
	}
	return nil
}

// reportGroup reports a group that was created. The first time that is a start; later it was flushed,
// evicted or lost in a failover. It is created at 0, never at $, since duplicates are harmless and gaps
// are not.
func (n *newEntries) reportGroup(created bool) {
	l := n.lane
	switch {
	case created && n.joined:
		l.pipeline.Metrics.GroupRecreated.WithLabelValues(l.name()).Inc()
		l.logger.Warn("stream or consumer group was gone; the group is created anew at the beginning of the stream")
	case created:
		l.logger.Info("consumer group created at the beginning of the stream")
	}
	n.joined = true
}

// read waits for entries, up to block, and takes what is there, up to a batch. It reads in
// several replies rather than one, so that the size of the entries is known before many are asked
// for. It reports whether there is a backlog. The batch is to be finished after an error too.
func (n *newEntries) read(ctx context.Context, block time.Duration) (b stream.Batch, backlog bool, err error) {
	for {
		asked := n.size.count(len(b.Entries), b.Bytes)
		if asked == 0 {
			return b, true, nil
		}
		n.lane.release()
		bytes, trimmed := b.Bytes, b.TrimmedUnread
		acks := &n.lane.unacknowledged
		before := len(acks.IDs)
		came, err := n.lane.consumer.ReadNew(ctx, &b, asked, block, acks)
		n.lane.acknowledged(before)
		n.lane.pipeline.rounds.see(n.lane.consumer.Consumers())
		n.lost(b.TrimmedUnread - trimmed)
		if ctx.Err() != nil && len(b.Entries) > 0 {
			return b, false, nil // the stop came in between: what was read is finished
		}
		if err != nil {
			return b, false, err
		}
		if came > 0 {
			n.size.observe(came, b.Bytes-bytes)
		}
		if came < asked {
			return b, false, nil
		}
		block = 0
	}
}

// lost counts entries that were trimmed before they were read. On a stream that is trimmed faster
// than it is read every read finds some: they are logged no more often than the monitor looks.
func (n *newEntries) lost(entries int64) {
	n.lane.pipeline.Metrics.TrimmedUnread.WithLabelValues(n.lane.name()).Add(float64(entries))
	n.sayLost(n.lostLog.add(entries))
}

func (n *newEntries) sayLost(entries int64) {
	if entries > 0 {
		n.lane.pipeline.sayTrimmed(n.lane.name(), entries)
	}
}
