package pipeline

import (
	"context"
	"maps"
	"sync"
	"time"

	"processor/internal/store"
	"processor/internal/stream"
)

// mostWaiting bounds the entries of a stream that wait alone. Where more would, the workers that
// met them wait too, and reading stops before memory grows.
const mostWaiting = 1000

// waiter keeps the entries of one stream whose rows meet a limit of the server, or an error
// without a rule, while others are written. It writes them again and again, with backoff, so that
// they keep no worker from its next batch. They stay pending in Redis and in flight in the ledger.
type waiter struct {
	worker   *worker
	consumer *stream.Consumer
	arrivals chan arrival
	held     *batch // nil while nothing waits
	bytes    int    // of the payloads held
	since    time.Time

	mu  sync.Mutex
	ids map[stream.ID]bool // held, or on their way here
}

// arrival is an entry that begins to wait, and why.
type arrival struct {
	entry stream.Entry
	err   error
}

func (p *Pipeline) newWaiter(c *stream.Consumer) *waiter {
	return &waiter{
		worker:   p.newWorker(),
		consumer: c,
		arrivals: make(chan arrival),
		ids:      map[stream.ID]bool{},
	}
}

// take keeps a copy of the entry, once there is room for it.
func (x *waiter) take(work context.Context, e *stream.Entry, err error) error {
	x.mark(e.ID, true)
	select {
	case x.arrivals <- arrival{e.Clone(), err}:
		return nil
	case <-work.Done():
		x.mark(e.ID, false)
		return context.Cause(work)
	}
}

func (x *waiter) mark(id stream.ID, held bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if held {
		x.ids[id] = true
		return
	}
	delete(x.ids, id)
}

// addTo adds the entries that are here: Redis hands them out again, as they are pending for long.
func (x *waiter) addTo(ids map[stream.ID]bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	maps.Copy(ids, x.ids)
}

// run writes what waits until arrivals is closed; then it tries once more. What is not written by
// then stays pending for the next start.
func (x *waiter) run(work context.Context) {
	pause := store.NewBackOff()
	retry := time.NewTimer(0)
	defer retry.Stop()
	for open := true; open; {
		room := x.arrivals
		if x.held != nil && (len(x.held.Entries) >= mostWaiting || x.bytes >= x.worker.pipeline.Options.BatchBytes) {
			room = nil
		}
		var a arrival
		select {
		case a, open = <-room:
			if !open {
				break
			}
			if x.held == nil {
				x.begin(a)
				pause.Reset()
				retry.Reset(pause.NextBackOff())
			}
			x.held.Entries = append(x.held.Entries, a.entry)
			x.bytes += len(a.entry.Payload)
			continue
		case <-retry.C:
		case <-work.Done():
			open = false
		}
		if x.held == nil {
			continue
		}
		if err := x.write(work); err != nil {
			break
		}
		retry.Reset(pause.NextBackOff())
	}
	if x.held != nil {
		x.worker.pipeline.Logger.Warn("entries given up that waited alone; they stay pending",
			"stream", x.consumer.Stream(), "entries", len(x.held.Entries))
	}
}

// begin reports the first entry that waits; further ones are not reported until none does.
func (x *waiter) begin(a arrival) {
	x.held = &batch{Batch: stream.Batch{Redelivered: true}, consumer: x.consumer, waited: true}
	x.since = time.Now()
	x.worker.pipeline.Logger.Warn("an entry cannot be written alone, while others are; it waits and is tried again",
		"stream", x.consumer.Stream(), "entry", a.entry.ID.String(), "class", store.Classify(a.err), "error", a.err)
}

// write tries all that waits as one batch, and keeps what still waits.
func (x *waiter) write(work context.Context) error {
	p := x.worker.pipeline
	defer x.worker.forget()
	if err := x.worker.process(work, x.held); err != nil {
		return err
	}
	still := make(map[int]bool, len(x.worker.waiting))
	for _, w := range x.worker.waiting {
		still[w.entry] = true
	}
	before := x.held.Entries
	x.held.Entries, x.bytes = nil, 0
	for i := range before {
		if !still[i] {
			x.mark(before[i].ID, false)
			continue
		}
		x.held.Entries = append(x.held.Entries, before[i])
		x.bytes += len(before[i].Payload)
	}
	check := "waiting " + x.consumer.Stream()
	if len(x.held.Entries) == 0 {
		x.held = nil
		p.Health.Recover(check)
		p.Logger.Info("no entry waits alone any more", "stream", x.consumer.Stream(), "after", time.Since(x.since).Round(time.Millisecond).String())
		return nil
	}
	if time.Since(x.since) > graceBeforeNotReady {
		p.Health.Fail(check, x.worker.waiting[0].err)
	}
	return nil
}
