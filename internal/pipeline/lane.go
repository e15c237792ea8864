package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"processor/internal/observe"
	"processor/internal/retry"
	"processor/internal/stream"
)

// lane owns everything of one stream. One goroutine reads it and hands batches to the workers; three more
// retry what is parked: rows, dead letters and acknowledgements.
type lane struct {
	pipeline  *Pipeline
	consumer  *stream.Consumer
	logger    *slog.Logger
	loop      *observe.Loop // of the reading goroutine
	incidents incidents

	flight // batches handed to workers
	waiting
	sources
}

// sources are where a lane's entries come from.
type sources struct {
	new    newEntries
	own    ownEntries
	claims claims
}

func (p *Pipeline) newLane(c *stream.Consumer, shared chan<- load) *lane {
	name := c.Stream()
	p.Ledger.Read(name, 0)
	l := &lane{
		pipeline: p,
		consumer: c,
		logger:   p.Logger.With("stream", name),
		loop:     p.Health.Loop("reader "+name, maxSilence),
		flight:   flight{shared: shared, loads: make(chan load)},
		waiting:  newWaiting(p.Options.BatchBytes),
	}
	l.incidents = l.newIncidents()
	l.new = newEntries{lane: l, size: newSizer(p.Options.BatchSize, p.Options.BatchBytes)}
	l.own = ownEntries{lane: l, assess: true}
	l.claims = claims{lane: l}
	c.MaxReply, c.Progress = l.new.size.maxReply(), l.loop.Beat
	return l
}

func (l *lane) name() string { return l.consumer.Stream() }

// read reads until ctx ends. After any error it begins anew with what is pending for this consumer: a
// reply that was lost on the way left its entries there.
func (l *lane) read(ctx, work context.Context) {
	defer l.loop.Done()
	defer l.consumer.Close()
	defer func() { l.new.sayLost(l.new.lostLog.rest()) }()
	l.pipeline.awaitReady(ctx, l.loop)
	pause := retry.NewBackOff()
	for ctx.Err() == nil {
		err := l.readUntilError(ctx, work, pause.Reset)
		if ctx.Err() != nil {
			return
		}
		l.loop.Beat()
		switch {
		case errors.Is(err, stream.ErrUncounted):
		case l.readLess(err):
			pause.Reset()
		default:
			l.failed(err)
			if retry.Sleep(ctx, pause.NextBackOff()) != nil {
				return
			}
		}
		l.settle(ctx, l.loop, inFlightTimeout) // else what is in flight would be delivered once more
		l.acknowledge(work)                    // and so would what is not acknowledged yet
	}
}

// readLess learns from a reply that did not arrive as a whole: its entries are pending here, and are read one
// by one, which counts as one more delivery of each, whatever their sizes. It reports whether to go on at once.
func (l *lane) readLess(err error) bool {
	var broken *stream.BrokenReplyError
	if !errors.As(err, &broken) {
		return false
	}
	l.own.oneByOne = true
	switch {
	case broken.TooLarge():
		l.new.size.broke(broken.Entries, broken.Bytes)
		l.logger.Info("entries have become large; reading the reply's entries one by one", "asked", broken.Entries, "bytes", broken.Bytes)
		return true
	case broken.Bytes == 0: // the connection ended; a reply was cut if entries turn out to be pending here
		l.own.cut = broken
		return false
	}
	l.askForFewer(broken)
	return broken.Entries > 1 // with a single entry there is nothing to do but wait
}

// askForFewer makes replies smaller after one that broke off.
func (l *lane) askForFewer(broken *stream.BrokenReplyError) {
	l.new.size.broke(broken.Entries, broken.Bytes)
	l.incidents.replies.Fail(fmt.Errorf("%w. Fix: %s", broken, brokenHint), "asked", broken.Entries, "bytes", broken.Bytes, "hint", brokenHint)
}

// brokenHint is the fix for replies that break off again and again.
const brokenHint = "if Redis closes the connection, raise client-output-buffer-limit normal (0 0 0 is its default: no limit); " +
	"else the link to Redis is slow or is cut by a proxy: check bandwidth and idle timeouts, or lower BATCH_BYTES"

// failed reports a stream that cannot be read.
func (l *lane) failed(err error) {
	if errors.Is(err, stream.ErrNoGroup) {
		return // reported once the group is there again
	}
	var broken *stream.BrokenReplyError
	if errors.As(err, &broken) && (broken.Bytes > 0 || broken.Entries == 1) {
		// Where not a byte arrived of many entries the connection ended, as when Redis restarts. If it was for
		// a reply beyond the limit, its entries are found pending, and then it is said.
		err = fmt.Errorf("%w. Fix: %s", err, brokenHint)
	}
	l.incidents.read.Fail(err)
}

// readUntilError makes sure of the group, reads the consumer's own pending entries and then takes turns
// between the sources. It returns with the first error, or when ctx ends; worked is called after each
// good read.
func (l *lane) readUntilError(ctx, work context.Context, worked func()) error {
	if err := l.new.join(ctx); err != nil {
		return err
	}
	if err := l.own.readAll(ctx, work); err != nil {
		return err
	}
	for l.mayRead(ctx) {
		if l.own.assess {
			if err := l.own.readAll(ctx, work); err != nil {
				return err
			}
		}
		moreClaims, err := l.claims.claim(ctx, work)
		if err != nil {
			return err
		}
		moreOwn, err := l.own.readReturned(ctx)
		if err != nil {
			return err
		}
		block := stream.BlockTimeout
		if moreClaims || moreOwn || l.recent() {
			block = 0 // a stream without new entries must not delay them, nor the XACK of what is in flight
		}
		if err := l.readNew(ctx, work, block); err != nil {
			return err
		}
		worked()
	}
	return nil
}

// readNew hands new entries to a worker. Without a backlog one batch goes at a time, in rounds: a trickle
// costs the database few commits, and what arrives meanwhile forms the next batch.
func (l *lane) readNew(ctx, work context.Context, block time.Duration) error {
	b, backlog, err := l.new.read(ctx, block)
	trickle := !backlog && err == nil
	if len(b.Entries) > 0 && !l.handNew(ctx, work, b, trickle) {
		return context.Cause(work)
	}
	if err != nil {
		return err
	}
	l.incidents.read.Recover()
	if l.new.size.atFullSize() {
		l.incidents.replies.Recover()
	}
	if backlog || len(b.Entries) == 0 && !l.recent() {
		return nil // after a backlog the next batch may be written concurrently
	}
	if !l.settle(ctx, l.loop, trickleTimeout) {
		l.pipeline.rounds.separate()
	}
	l.pipeline.rounds.wait(ctx)
	return nil
}

// mayRead waits while more entries wait for XACK than may, and reports whether to go on.
func (l *lane) mayRead(ctx context.Context) bool {
	for ctx.Err() == nil {
		l.loop.Beat()
		if l.acks.idsOnly() < maxParked {
			return true
		}
		_ = retry.Sleep(ctx, 100*time.Millisecond)
	}
	return false
}

// count returns the entries of a batch of which something is left.
func (l *lane) count(b *batch) int {
	n := 0
	for i := range b.Entries {
		if !b.Entries[i].Trimmed {
			n++
		}
	}
	return n
}

// held returns the ids of the entries that this process has in memory: in flight, just now or parked;
// true unless the entry is lost.
func (l *lane) held() map[stream.ID]bool {
	ids := map[stream.ID]bool{}
	l.flight.addTo(ids)
	l.writes.addTo(ids)
	l.letters.addTo(ids)
	l.acks.addTo(ids)
	return ids
}
