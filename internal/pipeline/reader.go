package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"processor/internal/observe"
	"processor/internal/store"
	"processor/internal/stream"
)

// beatInterval is how often a reader that waits for a worker says that it is alive.
const beatInterval = time.Second

// maxSilence is how long a reader may go without a beat before /healthz fails. A read that
// hangs takes the client's timeout and a reconnect.
const maxSilence = 30 * time.Second

// inFlightTimeout is how long the next read waits for a batch in flight. One that takes longer is
// held because of the database, perhaps for a single row: what comes after it is then read and
// written concurrently.
const inFlightTimeout = 10 * time.Second

// reader reads one stream and hands batches to the workers.
type reader struct {
	pipeline *Pipeline
	consumer *stream.Consumer
	batches  chan<- *batch
	size     sizer
	inFlight []*batch // handed over, and not released
	loop     *observe.Loop
	logger   *slog.Logger
	joined   bool // the group was there before
	failing  bool
	metLone  bool                     // a lone entry was handed over
	oneByOne bool                     // what is pending is read so, after a reply that broke off
	broke    int                      // replies that broke off since one arrived
	cut      *stream.BrokenReplyError // the last one without a byte, if its entries have not been met yet
	slow     bool                     // the log says that replies break off, until they have their full size again

	unsaid int64 // entries that were lost since the log last told of some
	saidAt time.Time

	claimAt time.Time // when to claim next
	cursor  stream.Cursor
}

func (p *Pipeline) newReader(c *stream.Consumer, batches chan<- *batch) *reader {
	p.Ledger.Read(c.Stream(), 0)
	size := newSizer(p.Options.BatchSize, p.Options.BatchBytes)
	loop := p.Health.Loop("reader "+c.Stream(), maxSilence)
	c.MaxReply, c.Progress = size.maxReply(), loop.Beat
	return &reader{
		pipeline: p,
		consumer: c,
		batches:  batches,
		size:     size,
		loop:     loop,
		logger:   p.Logger.With("stream", c.Stream()),
	}
}

// run reads until ctx ends. After any error it begins anew with what is pending for this
// consumer: a reply that was lost on the way left its entries there.
func (r *reader) run(ctx, work context.Context) {
	defer r.loop.Done()
	defer r.consumer.Close()
	defer r.sayLost()
	pause := store.NewBackOff()
	for ctx.Err() == nil {
		err := r.read(ctx, work, pause.Reset)
		if ctx.Err() != nil {
			return
		}
		r.loop.Beat()
		var broken *stream.BrokenReplyError
		if errors.As(err, &broken) {
			r.readOneByOne(broken)
		}
		if broken != nil && r.broke > 1 {
			err = fmt.Errorf("%w. Fix: %s", err, brokenHint)
		}
		if broken == nil || r.broke > 1 {
			r.failed(err)
			if sleep(ctx, pause.NextBackOff()) != nil {
				return
			}
		}
		r.wait(ctx) // else what is in flight would be delivered once more
	}
}

// readOneByOne follows a reply that did not arrive as a whole: its entries are pending here. One by one they
// are delivered only once more, whatever their sizes; trying with fewer and fewer might take as many
// deliveries as make a dead letter. New entries are read in smaller replies.
func (r *reader) readOneByOne(broken *stream.BrokenReplyError) {
	r.oneByOne = true
	r.broke++
	if broken.TooLarge() {
		r.size.tooLarge(broken.Entries, broken.Bytes)
		r.logger.Info("entries have become large: what the reply held is read again one by one",
			"asked", broken.Entries, "bytes", broken.Bytes)
		return
	}
	if broken.Bytes == 0 {
		r.cut = broken // a reply was cut if its entries are pending now, else the connection ended for itself
		return
	}
	r.askForFewer(broken)
}

func (r *reader) askForFewer(broken *stream.BrokenReplyError) {
	r.size.broken(broken.Entries)
	if r.slow {
		return
	}
	r.slow = true
	r.logger.Warn("replies of Redis break off; reading fewer entries at a time", "asked", broken.Entries,
		"bytes", broken.Bytes, "error", broken.Err, "hint", brokenHint)
}

// brokenHint is the fix for replies that break off again and again.
const brokenHint = "if Redis closes the connection, raise client-output-buffer-limit normal (0 0 0 is its default: no limit); " +
	"else the link to Redis is slow or is cut by a proxy: check bandwidth and idle timeouts, or lower BATCH_BYTES"

// arrived notes that a reply arrived as a whole, with entries that were pending or without.
func (r *reader) arrived(pending bool) {
	if pending && r.cut != nil {
		r.askForFewer(r.cut)
	}
	r.broke, r.cut = 0, nil
	if r.size.most == 0 {
		r.slow = false
	}
}

// read makes sure of the group, reads the consumer's own pending entries and then new ones.
// It returns with the first error, or when ctx ends; worked is called after each good read.
func (r *reader) read(ctx, work context.Context, worked func()) error {
	if err := r.join(ctx); err != nil {
		return err
	}
	if err := r.readPending(ctx, work); err != nil {
		return err
	}
	for ctx.Err() == nil {
		r.loop.Beat()
		more, err := r.claim(ctx, work)
		if err != nil {
			return err
		}
		block := stream.BlockTimeout
		if more {
			block = 0 // a stream without new entries must not delay it
		}
		b, backlog, err := r.readNew(ctx, block)
		at := time.Now()
		if len(b.Entries) > 0 && !r.hand(work, &batch{Batch: b}) {
			return nil
		}
		if err != nil {
			return err
		}
		r.recovered()
		worked()
		if backlog || len(b.Entries) == 0 {
			continue // after a backlog the next batch may be written concurrently
		}
		// No backlog. One batch at a time, and not more often than every linger: a trickle
		// costs the database few commits, and what arrives meanwhile forms the next batch.
		r.wait(ctx)
		if sleep(ctx, r.pipeline.Options.Linger-time.Since(at)) != nil {
			return nil
		}
	}
	return nil
}

// join makes sure of the group, and looks for entries that were trimmed unread while nobody looked.
// What fails here lasts, and is the watcher's to report, or will fail the read.
func (r *reader) join(ctx context.Context) error {
	created, err := r.consumer.EnsureGroup(ctx)
	if err != nil {
		return err
	}
	r.reportGroup(created)
	if _, err := r.pipeline.countTrimmed(ctx, r.consumer); err != nil {
		r.logger.Debug("not looked for entries that were trimmed unread", "error", err)
	}
	return nil
}

// readNew waits for entries, up to block, and takes what is there, up to a batch. It reads in
// several replies rather than one, so that the size of the entries is known before many are asked
// for. It reports whether there is a backlog. The batch is to be finished after an error too.
func (r *reader) readNew(ctx context.Context, block time.Duration) (b stream.Batch, backlog bool, err error) {
	for {
		asked := r.size.count(len(b.Entries), b.Bytes)
		if asked == 0 {
			return b, true, nil
		}
		r.release()
		bytes, trimmed := b.Bytes, b.TrimmedUnread
		came, err := r.consumer.ReadNew(ctx, &b, asked, block)
		r.lost(b.TrimmedUnread - trimmed)
		if ctx.Err() != nil && len(b.Entries) > 0 {
			return b, false, nil // the stop came in between: what was read is finished
		}
		if err != nil {
			return b, false, err
		}
		if came > 0 {
			r.size.observe(came, b.Bytes-bytes)
		}
		r.arrived(false)
		if came < asked {
			return b, false, nil
		}
		block = 0
	}
}

// lost counts entries that were trimmed before they were read. On a stream that is trimmed faster
// than it is read every read finds some: the log tells of them no more often than the monitor looks.
func (r *reader) lost(entries int64) {
	r.unsaid += entries
	r.pipeline.Metrics.TrimmedUnread.WithLabelValues(r.consumer.Stream()).Add(float64(entries))
	if time.Since(r.saidAt) >= monitorInterval {
		r.sayLost()
	}
}

func (r *reader) sayLost() {
	if r.unsaid == 0 {
		return
	}
	r.pipeline.sayTrimmed(r.consumer.Stream(), r.unsaid)
	r.unsaid, r.saidAt = 0, time.Now()
}

// reportGroup tells the group's first creation, which is a start, from every later one: then it was
// flushed, evicted or lost in a failover. It is made anew at 0, never at $, since duplicates
// are harmless and gaps are not.
func (r *reader) reportGroup(created bool) {
	switch {
	case created && r.joined:
		r.pipeline.Metrics.GroupRecreated.WithLabelValues(r.consumer.Stream()).Inc()
		r.logger.Warn("stream or consumer group was gone; the group is created anew at the beginning of the stream")
	case created:
		r.logger.Info("consumer group created at the beginning of the stream")
	}
	r.joined = true
}

// readPending hands over what was delivered to this consumer and never acknowledged: by this
// process before an error, or by one before it under the same name.
func (r *reader) readPending(ctx, work context.Context) error {
	var after stream.ID
	total, seen, bytes := 0, 0, 0
	for ctx.Err() == nil {
		r.loop.Beat()
		count := r.size.count(0, 0)
		if r.oneByOne {
			count = 1
		}
		b, err := r.consumer.ReadPending(ctx, after, count)
		if err != nil {
			return err
		}
		if len(b.Entries) > 0 {
			r.arrived(true)
		}
		if len(b.Entries) == 0 {
			break
		}
		after = b.Entries[len(b.Entries)-1].ID
		seen, bytes = seen+len(b.Entries), bytes+b.Bytes
		if !r.oneByOne {
			r.size.observe(len(b.Entries), b.Bytes)
		}
		b = leaveOut(b, r.inFlightIDs())
		if len(b.Entries) == 0 {
			continue
		}
		total += len(b.Entries)
		if ok, err := r.handRedelivered(ctx, work, b); err != nil || !ok {
			return err
		}
	}
	if r.oneByOne && seen > 0 {
		r.size.observe(seen, bytes) // a few small ones among them must not hide the large ones
	}
	r.oneByOne = false
	if total > 0 {
		r.logger.Info("entries that were pending for this consumer are read again", "entries", total)
	}
	return nil
}

// hand waits for a worker to take the batch, of which the caller sets what is not the same for
// all. It reports false when all work is given up: the entries then stay pending.
func (r *reader) hand(work context.Context, b *batch) bool {
	b.consumer, b.done = r.consumer, make(chan struct{})
	trimmed := 0
	for i := range b.Entries {
		if b.Entries[i].Trimmed {
			trimmed++
		}
	}
	r.pipeline.Ledger.Read(r.consumer.Stream(), len(b.Entries)-trimmed)
	if b.buried == 0 {
		r.pipeline.step(Read)
	}
	ticker := time.NewTicker(beatInterval)
	defer ticker.Stop()
	for {
		select {
		case r.batches <- b:
			r.track(b)
			return true
		case <-ticker.C:
			r.loop.Beat()
		case <-work.Done():
			return false
		}
	}
}

// track keeps the batch until it is done.
func (r *reader) track(b *batch) {
	r.release()
	b.handed = time.Now()
	r.inFlight = append(r.inFlight, b)
}

// release gives back the memory of the batches that are done, before the next reply needs some.
func (r *reader) release() {
	r.inFlight = slices.DeleteFunc(r.inFlight, func(b *batch) bool {
		select {
		case <-b.done:
			b.Release()
			return true
		default:
			return false
		}
	})
}

// wait returns when no batch of this stream is in flight, but for those that took
// longer than inFlightTimeout, or when ctx ends.
func (r *reader) wait(ctx context.Context) {
	held := r.inFlight[:0]
	for _, f := range r.inFlight {
		if r.waitFor(ctx, f) {
			f.Release()
			continue
		}
		held = append(held, f)
	}
	r.inFlight = held
}

func (r *reader) waitFor(ctx context.Context, b *batch) bool {
	enough := time.NewTimer(time.Until(b.handed.Add(inFlightTimeout)))
	defer enough.Stop()
	ticker := time.NewTicker(beatInterval)
	defer ticker.Stop()
	for {
		select {
		case <-b.done:
			return true
		case <-ticker.C:
			r.loop.Beat()
		case <-enough.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// failed reports trouble with the stream once, however long it lasts.
func (r *reader) failed(err error) {
	if errors.Is(err, stream.ErrNoGroup) {
		return // reportGroup tells, once the group is there again
	}
	if !r.failing {
		r.logger.Warn("stream cannot be read; trying again until it can", "error", err)
	}
	r.failing = true
	r.pipeline.Health.Fail("stream "+r.consumer.Stream(), err)
}

func (r *reader) recovered() {
	if !r.failing {
		return
	}
	r.failing = false
	r.logger.Info("stream is read again")
	r.pipeline.Health.Recover("stream " + r.consumer.Stream())
}
