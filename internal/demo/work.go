package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"processor/internal/fleet"
)

const (
	// refreshEvery is how often the state is read and a terminal is redrawn.
	refreshEvery = 250 * time.Millisecond
	// drainTimeout is how long drain waits without progress before it gives up.
	drainTimeout = 30 * time.Second
	// shutdownTimeout is short: when the worker stops, the stream is drained or drainTimeout has passed.
	shutdownTimeout = 5 * time.Second
)

// work publishes and plays until ctx ends or Options.For has passed, and runs the worker until the stream is drained.
// All of it has stopped when it returns.
func (d *demo) work(ctx context.Context) error {
	// A deadline would abort the Redis command in progress; cancelling lets it finish.
	publishCtx, stopPublishing := context.WithCancel(ctx)
	defer stopPublishing()
	workerCtx, stopWorker := context.WithCancel(d.abort)
	defer stopWorker()
	worker := begin(func() error { return d.keeper.run(workerCtx, d.abort, publishCtx.Done()) })
	counter := begin(func() error {
		d.rows.run(workerCtx)
		return nil
	})
	console := begin(func() error {
		if d.console == nil {
			return nil
		}
		return d.console(workerCtx)
	})
	if d.options.For > 0 {
		defer time.AfterFunc(d.options.For, stopPublishing).Stop()
	}
	publisher := begin(func() error { return d.publish(publishCtx) })
	scenes := begin(func() error { return d.director.run(publishCtx) })
	err := d.watchKeys(publishCtx, stopPublishing)
	if err == nil {
		err = d.watch(worker, publisher, scenes)
	}
	stopPublishing()
	if err == nil {
		err = d.watch(worker, scenes, publisher)
	}
	<-publisher.done
	<-scenes.done
	err = errors.Join(err, publisher.err, scenes.err)
	if err == nil {
		err = d.drain(worker)
	}
	if err == nil {
		_, _ = d.rows.count(d.abort) // compare reports the error
		d.meter.end()
		d.display.finish(d.refresh(d.abort))
	}
	stopWorker()
	<-worker.done
	<-counter.done
	<-console.done
	if errors.Is(err, errWorkerEnded) {
		return worker.err
	}
	return errors.Join(err, worker.err, during("console", console.err))
}

// watchKeys reads keys in the background until ctx ends.
func (d *demo) watchKeys(ctx context.Context, stop func()) error {
	if d.keyboard == nil {
		return nil
	}
	if err := d.keyboard.single(); err != nil {
		return err
	}
	// Nobody waits for it: a read of a terminal cannot be interrupted.
	go d.keyboard.read(ctx, func(key byte) {
		if key == 'q' || key == 'Q' {
			stop()
			return
		}
		d.director.press(key)
	})
	return nil
}

// publish runs the fleet. It returns nil if ctx ended it.
func (d *demo) publish(ctx context.Context) error {
	vehicles := fleet.New(fleet.Options{Devices: d.options.Devices, Seed: d.options.Seed, Start: time.Now()})
	err := d.fleet.Run(ctx, vehicles, fleet.Pace{Rate: float64(d.options.Rate)})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

var errWorkerEnded = errors.New("the worker ended unexpectedly")

// watch updates the display until the first task has ended, or the second with an error.
func (d *demo) watch(worker, until, other *task) error {
	ticker := time.NewTicker(refreshEvery)
	defer ticker.Stop()
	for {
		d.display.show(d.refresh(d.abort))
		select {
		case <-ticker.C:
		case <-until.done:
			return until.err
		case <-worker.done:
			return errWorkerEnded
		case <-d.abort.Done():
			return context.Cause(d.abort)
		}
		if other.ended() && other.err != nil {
			return other.err
		}
	}
}

// drain updates the display until the stream is drained, or nothing was stored for drainTimeout.
func (d *demo) drain(worker *task) error {
	d.meter.drain()
	ticker := time.NewTicker(refreshEvery)
	defer ticker.Stop()
	last, since := snapshot{}, time.Now()
	for {
		s := d.refresh(d.abort)
		d.display.show(s)
		if drained, err := d.queue.drained(d.abort); err == nil && drained {
			return nil
		}
		if s.sum.ledger != last.sum.ledger || s.starts != last.starts {
			last, since = s, time.Now()
		}
		if time.Since(since) > drainTimeout {
			d.display.say(alarm, fmt.Sprintf("nothing was stored for %s: giving up", drainTimeout))
			return nil // compare then reports what is missing
		}
		select {
		case <-ticker.C:
		case <-worker.done:
			return errWorkerEnded
		case <-d.abort.Done():
			return context.Cause(d.abort)
		}
	}
}

// compare counts rows and dead letters and compares them with what was published. Worker and publishers must have
// stopped.
func (d *demo) compare() error {
	ctx := d.abort
	r := result{
		kills: int(d.director.kills.Load()), outages: int(d.director.outages.Load()),
		duplicates: d.director.duplicates.Published(),
		positions:  d.fleet.Published(), positionsUnconfirmed: d.fleet.Unconfirmed(),
		bad: d.director.bad.Published(), badUnconfirmed: d.director.bad.Unconfirmed(),
	}
	var err error
	if r.rows, err = d.rows.count(ctx); err != nil {
		return fmt.Errorf("count the rows of %d positions: %w", r.positions, err)
	}
	found, err := d.queue.letters(ctx)
	if err != nil {
		return err
	}
	r.badLetters, r.otherLetters = found.bad, found.other
	drained, err := d.queue.drained(ctx)
	if err != nil {
		return err
	}
	r.unread = !drained
	if err := r.check(); err != nil {
		return err
	}
	ledger := d.log.lastLedger()
	if ledger == nil {
		return errors.New("the worker stopped without its ledger")
	}
	if !ledger.Balanced() {
		return fmt.Errorf("the ledger of the worker does not balance: %s", ledger)
	}
	d.display.say(plain, fmt.Sprintf("ledger of the last worker: %s", ledger))
	d.display.say(title, r.String())
	return nil
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

func (t *task) ended() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}
