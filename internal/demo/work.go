package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"processor/internal/fleet"
	"processor/internal/store"
)

const (
	// refresh is how often the counters are read and a terminal is redrawn.
	refresh = 250 * time.Millisecond
	// drainTimeout is how long drain waits without progress before it gives up.
	drainTimeout = 30 * time.Second
)

// work runs the fleet until ctx ends or Options.For has passed, and the worker until the stream is
// drained. Both have stopped when it returns.
func (d *demo) work(ctx context.Context) error {
	workerCtx, stopWorker := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWorker()
	worker := begin(func() error { return d.service.Run(workerCtx) })
	// A deadline would abort the Redis command in progress; cancelling lets it finish.
	publishCtx, stopPublishing := context.WithCancel(ctx)
	defer stopPublishing()
	if d.options.For > 0 {
		defer time.AfterFunc(d.options.For, stopPublishing).Stop()
	}
	publisher := begin(func() error { return d.publish(publishCtx) })

	err := d.watch(workerCtx, publisher, worker)
	stopPublishing()
	<-publisher.done
	if err == nil {
		err = d.drain(workerCtx, worker)
	}
	if err == nil {
		err = d.finish()
	}
	stopWorker()
	<-worker.done
	return errors.Join(err, publisher.err, worker.err)
}

// publish runs the fleet. It returns nil if ctx ended it.
func (d *demo) publish(ctx context.Context) error {
	vehicles := fleet.New(fleet.Options{Devices: d.options.Devices, Seed: d.options.Seed, Start: time.Now()})
	err := d.publisher.Run(ctx, vehicles, fleet.Pace{Rate: float64(d.options.Rate)})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

var errWorkerEnded = errors.New("the worker stopped unexpectedly")

// watch updates the display until the fleet has stopped publishing.
func (d *demo) watch(ctx context.Context, publisher, worker *task) error {
	ticker := time.NewTicker(refresh)
	defer ticker.Stop()
	for {
		if err := d.show(ctx); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-publisher.done:
			return nil
		case <-worker.done:
			return errWorkerEnded
		}
	}
}

// drain updates the display until the stream is drained, or nothing was stored for drainTimeout.
func (d *demo) drain(ctx context.Context, worker *task) error {
	d.meter.drain()
	ticker := time.NewTicker(refresh)
	defer ticker.Stop()
	last, since := d.service.Ledger.Snapshot(), time.Now()
	for {
		if err := d.show(ctx); err != nil {
			return err
		}
		if drained, err := d.queue.drained(ctx); err == nil && drained {
			return nil
		}
		if now := d.service.Ledger.Snapshot(); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) > drainTimeout {
			d.display.say(fmt.Sprintf("nothing was stored for %s: giving up", drainTimeout))
			return nil // compare then reports the missing rows
		}
		select {
		case <-ticker.C:
		case <-worker.done:
			return errWorkerEnded
		}
	}
}

// show reads the counters and updates the display.
func (d *demo) show(ctx context.Context) error {
	// An error is ignored: the worker reports a Redis outage itself, and the next call trims as well.
	_ = d.queue.trim(ctx, d.service.Ledger.Snapshot().Read)
	s, err := d.meter.read(time.Now())
	if err != nil {
		return err
	}
	d.display.show(s)
	return nil
}

// finish shows the figures of the whole run.
func (d *demo) finish() error {
	d.meter.end()
	s, err := d.meter.read(time.Now())
	if err != nil {
		return err
	}
	d.display.finish(s)
	return nil
}

// compare counts the rows and compares them with the published positions. Worker and fleet must have
// stopped.
func (d *demo) compare(ctx context.Context) error {
	ledger := d.service.Ledger.Snapshot()
	d.display.say("ledger: " + ledger.String())
	stored, err := countRows(ctx, d.servers.databaseURL)
	if err != nil {
		return fmt.Errorf("count rows after publishing %d positions: %w", d.publisher.Published(), err)
	}
	result := result{
		published:   d.publisher.Published(),
		unconfirmed: d.publisher.Unconfirmed(),
		stored:      uint64(stored),
		ledger:      ledger,
	}
	if err := result.check(); err != nil {
		return err
	}
	d.display.say(result.String())
	return nil
}

// countRows opens a new store, because the worker's is closed at this point.
func countRows(ctx context.Context, databaseURL string) (int64, error) {
	s, err := store.Open(ctx, databaseURL, store.Options{})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	return s.Count(ctx)
}

// task is a running goroutine. err may be read after done is closed.
type task struct {
	done chan struct{}
	err  error
}

func begin(f func() error) *task {
	t := &task{done: make(chan struct{})}
	go func() {
		defer close(t.done)
		t.err = f()
	}()
	return t
}
