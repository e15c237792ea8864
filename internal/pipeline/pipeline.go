// Package pipeline moves positions from Redis Streams to the database. Read its files in this order:
//
//	pipeline.go     what it is made of; the order of start and stop
//	batch.go        an entry on its way (item), and what is read at once (batch)
//	worker.go       the life of a batch: decode, write, observe, acknowledge, dead-letter
//	load.go         what a worker takes at once
//	finish.go       what Redis is told at the end: XACK, dead letters
//	lane.go         everything of one stream; its reading loop
//	hand.go, flight.go         batches on their way to a worker and back
//	rounds.go       several streams without a backlog in one transaction
//	acks.go         XACK with the next read
//	incidents.go    what may fail in a lane
//	new.go, own.go, claim.go   the three sources of entries
//	parked.go       entries that wait for a later attempt
//	retry.go, alone.go         those attempts
//	listener.go     who else is told of committed rows
//
// Whatever ends the process in between, the entries are still pending in Redis and are read again at
// the next start; the upsert makes that harmless.
package pipeline

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"processor/internal/device"
	"processor/internal/observe"
	"processor/internal/position"
	"processor/internal/store"
	"processor/internal/stream"
)

// Options are the settings of a Pipeline. All are required.
type Options struct {
	// Writers is how many batches are decoded and written at once; see Writers.
	Writers int
	// BatchSize is the maximum of entries per batch.
	BatchSize int
	// BatchBytes bounds a batch's memory: COUNT follows the size of the entries seen. What a stream has parked for
	// the database, and for its dead letters, is bounded by it too.
	BatchBytes int
	// Linger is the minimum time between two reads and commits without a backlog, for each consumer of the group.
	Linger time.Duration
	// ClaimIdle is how long another consumer's entry must have been pending to be taken over.
	ClaimIdle time.Duration
	// MaxDeliveries is how often an entry may be delivered before it is handled by itself.
	MaxDeliveries int
	// Window bounds a fix's time against now.
	Window position.Window
	// ShutdownTimeout bounds how long batches in flight may take after the stop.
	ShutdownTimeout time.Duration
}

// Writers returns how many store.Writers a pipeline uses at once: those of Options.Writers, one more for
// each further stream, so that no stream waits for another's, and one a stream for its parked entries.
func Writers(writers, streams int) int { return writers + 2*streams - 1 }

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
	// Listeners are told of committed rows, each by its name, a label of metrics. Set them before Run.
	Listeners map[string]Listener
	// OnStep, where set, is called after each step of every batch, by the goroutine that took
	// it. The fault tests end the process there.
	OnStep func(Step)
	// Ready, where set, delays the first read until it is closed: what a worker has read no other worker gets
	// for ClaimIdle, so a worker that has never reached its database must not read.
	Ready <-chan struct{}

	rounds rounds
	// alone is held while an entry is marked that may end the process: of several at once one could
	// not say which of them did.
	alone sync.Mutex
	// subscribers are the Listeners, from when Run has begun.
	subscribers []*subscriber
}

// Step is a moment in the life of a batch: after it was read, decoded and so on.
type Step string

// The steps in their order. A batch without dead letters has no DeadLettered; an entry that is
// dead-lettered without being decoded has nothing before Acknowledged.
const (
	Read         Step = "read"
	Decoded      Step = "decoded"
	Committed    Step = "committed"
	Observed     Step = "observed"
	Acknowledged Step = "acknowledged"
	DeadLettered Step = "dead_lettered"
)

func (p *Pipeline) step(s Step) {
	if p.OnStep != nil {
		p.OnStep(s)
	}
}

// errShutdownTimeout ends what is still in flight when ShutdownTimeout is over.
var errShutdownTimeout = errors.New("shutdown timeout is over")

// Run moves positions until ctx ends, and returns when the batches in flight are finished or
// the shutdown timeout is over. What is not done by then stays pending in Redis. An outage of Redis
// or the database never ends it: it waits and goes on.
func (p *Pipeline) Run(ctx context.Context) {
	// Batches in flight outlive the stop of reading.
	work, giveUp := context.WithCancelCause(context.WithoutCancel(ctx))
	defer giveUp(nil)

	// One worker for each stream alone, and the others for all: a stream whose batches hang cannot
	// take the last one. The channels are unbuffered: a lane holds one batch at most beyond those of
	// the workers.
	stopListeners := p.listen(work)
	var lanes []*lane
	var readers, workers, retries, monitors sync.WaitGroup
	p.rounds = rounds{linger: p.Options.Linger, most: amount{p.Options.BatchSize, p.Options.BatchBytes}}
	shared := make(chan load)
	for range p.Options.Writers - 1 {
		w := p.newWorker()
		workers.Go(func() { w.run(work, shared) })
	}
	for _, c := range p.Consumers {
		l := p.newLane(c, shared)
		lanes = append(lanes, l)
		w := p.newWorker()
		workers.Go(func() { w.run(work, l.loads) })
		retries.Go(func() { l.retryWrites(work) })
		retries.Go(func() { l.retryReplies(work, l.letters) })
		retries.Go(func() { l.retryReplies(work, l.acks) })
		readers.Go(func() { l.read(ctx, work) })
	}
	monitors.Go(func() { p.monitor(ctx) })

	<-ctx.Done()
	p.Logger.Info("stopping: no more reads; finishing the batches in flight", "cause", context.Cause(ctx).Error())
	timer := time.AfterFunc(p.Options.ShutdownTimeout, func() { giveUp(errShutdownTimeout) })
	defer timer.Stop()
	readers.Wait()
	close(shared)
	for _, l := range lanes {
		close(l.loads)
	}
	workers.Wait()
	for _, l := range lanes {
		l.release()
		l.acknowledge(work)
		l.writes.close()
	}
	for _, l := range lanes {
		<-l.written
		l.letters.close()
		l.acks.close()
	}
	retries.Wait()
	for _, l := range lanes {
		if n := l.moved.rest(); n > 0 {
			l.logger.Warn("entries moved to the dead-letter queue", "entries", n)
		}
	}
	monitors.Wait()
	p.leave(work)
	stopListeners()
}

// awaitReady returns when Ready is closed or ctx ends.
func (p *Pipeline) awaitReady(ctx context.Context, loop *observe.Loop) {
	if p.Ready == nil {
		return
	}
	beat := time.NewTicker(time.Second)
	defer beat.Stop()
	for {
		select {
		case <-p.Ready:
			return
		case <-ctx.Done():
			return
		case <-beat.C:
			loop.Beat()
		}
	}
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
