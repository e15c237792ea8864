// Package pipeline moves positions from Redis Streams to the database. The life of a batch:
//
//	read       reader.go   entries become pending for this consumer
//	decode     worker.go   payload -> position, or a reason why not
//	write      worker.go   sorted, in one transaction; trouble is waited out
//	observe    worker.go   device state, delays, the ledger
//	settle     worker.go   dead letters, then XACK: only now Redis forgets the entries
//	wait       waiter.go   rows that the server refuses alone, while it takes the others
//
// Whatever ends the process in between, the entries are still pending and are read again at
// the next start; the upsert makes that harmless.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"processor/internal/deadletter"
	"processor/internal/device"
	"processor/internal/observe"
	"processor/internal/store"
	"processor/internal/stream"
)

// Options are the settings of a Pipeline. All are required.
type Options struct {
	// Writers is how many batches are decoded and written at once.
	Writers int
	// BatchSize bounds the entries of a batch.
	BatchSize int
	// BatchBytes bounds a batch's memory: COUNT follows the size of the entries seen.
	BatchBytes int
	// Linger is the least time between two reads of a stream without backlog.
	Linger time.Duration
	// ClaimIdle is how long another consumer's entry must have been pending to be taken over.
	ClaimIdle time.Duration
	// MaxDeliveries is how often an entry may be delivered before it is processed alone, and
	// becomes a dead letter where it fails for a reason of its own; after twice as many, the first
	// of them becomes one without being decoded.
	MaxDeliveries int
	// Window bounds a fix's time against now. What is outside is a dead letter: each stray day
	// would make a chunk.
	Window deadletter.Window
	// ShutdownTimeout is what batches in flight have to finish in after the stop.
	ShutdownTimeout time.Duration
}

// Pipeline holds the parts that it wires. The caller owns them and closes them after Run.
type Pipeline struct {
	Options   Options
	Consumers []*stream.Consumer // one for each stream
	Store     *store.Store
	Devices   *device.Cache
	Ledger    *observe.Ledger
	Metrics   *observe.Metrics
	Health    *observe.Health
	Logger    *slog.Logger
	// OnStep, where set, is called after each step of every batch, by the goroutine that took
	// it. The fault tests end the process there.
	OnStep func(Step)

	waiters map[*stream.Consumer]*waiter
}

// Step is a moment in the life of a batch: after it was read, decoded and so on.
type Step string

// The steps in their order. A batch without dead letters has no DeadLettered; an entry that is
// dead-lettered without being decoded has nothing before that.
const (
	Read         Step = "read"
	Decoded      Step = "decoded"
	Committed    Step = "committed"
	Observed     Step = "observed"
	DeadLettered Step = "dead_lettered"
	Acknowledged Step = "acknowledged"
)

func (p *Pipeline) step(s Step) {
	if p.OnStep != nil {
		p.OnStep(s)
	}
}

// errShutdownTimeout ends what is still in flight when ShutdownTimeout is over.
var errShutdownTimeout = errors.New("shutdown timeout is over")

// batch is one read on its way through a worker.
type batch struct {
	stream.Batch
	consumer *stream.Consumer
	// lastChance: a single entry that was delivered too often.
	lastChance bool
	waited     bool // its entries wait alone
	// buried: a single entry that seems to end the process, after so many deliveries; else 0.
	buried int64
	handed time.Time     // to a worker
	done   chan struct{} // closed when the worker is through with it, however that ended
}

// Run moves positions until ctx ends, and returns when the batches in flight are through or
// the shutdown timeout is over. What is not done by then stays pending in Redis. Trouble with
// Redis or the database never ends it: it waits and goes on.
func (p *Pipeline) Run(ctx context.Context) {
	// Batches in flight outlive the stop of reading.
	work, giveUp := context.WithCancelCause(context.WithoutCancel(ctx))
	defer giveUp(nil)
	// Unbuffered: a reader holds one batch at most, and reads the next when a worker took it.
	// So no more than Writers + streams batches are in memory.
	batches := make(chan *batch)

	var readers, workers, waiters, monitors sync.WaitGroup
	p.waiters = make(map[*stream.Consumer]*waiter, len(p.Consumers))
	for _, c := range p.Consumers {
		x := p.newWaiter(c)
		p.waiters[c] = x
		waiters.Go(func() { x.run(work) })
	}
	for range p.Options.Writers {
		w := p.newWorker()
		workers.Go(func() { w.run(work, batches) })
	}
	for _, c := range p.Consumers {
		r := p.newReader(c, batches)
		readers.Go(func() { r.run(ctx, work) })
	}
	monitors.Go(func() { p.monitor(ctx) })

	<-ctx.Done()
	p.Logger.Info("stopping: no more reads; finishing the batches in flight", "cause", context.Cause(ctx).Error())
	timer := time.AfterFunc(p.Options.ShutdownTimeout, func() { giveUp(errShutdownTimeout) })
	defer timer.Stop()
	readers.Wait()
	close(batches)
	workers.Wait()
	for _, x := range p.waiters {
		close(x.arrivals)
	}
	waiters.Wait()
	monitors.Wait()
	p.leave(work)
}

// leave removes this consumer from the groups in which it holds nothing, so that names of pods
// long gone do not pile up. Where Redis does not answer, the name stays: it does no harm.
func (p *Pipeline) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	for _, c := range p.Consumers {
		left, err := c.Leave(ctx)
		switch {
		case err != nil:
			p.Logger.Warn("consumer stays in the group", "stream", c.Stream(), "error", err)
		case !left:
			p.Logger.Warn("entries stay pending for the next start", "stream", c.Stream())
		}
	}
}

// StoreEvents returns the calls that a Store makes for this pipeline's metrics and health.
func StoreEvents(metrics *observe.Metrics, health *observe.Health) store.Events {
	// Series that begin at their first event hide it from increase().
	for _, class := range store.Classes() {
		metrics.WriteErrors.WithLabelValues(string(class))
	}
	for _, reason := range deadletter.Reasons() {
		metrics.DeadLetters.WithLabelValues(string(reason))
	}
	return store.Events{
		Wrote: func(path string, _ int, took time.Duration) {
			metrics.BatchWrite.WithLabelValues(path).Observe(took.Seconds())
		},
		Failed:        func(class store.Class) { metrics.WriteErrors.WithLabelValues(string(class)).Inc() },
		CommitUnknown: metrics.CommitUnknown.Inc,
		Trouble: func(class store.Class, since time.Time, err error) {
			switch {
			case err == nil:
				health.Recover("writes")
			case class == store.Schema, class == store.Unexpected, time.Since(since) > graceBeforeNotReady:
				health.Fail("writes", fmt.Errorf("%s: %w", class, err))
			}
		},
	}
}

// graceBeforeNotReady: a deadlock or a failover of seconds is no reason to be taken out.
const graceBeforeNotReady = 10 * time.Second

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
