package bench

import (
	"context"
	"errors"
	"time"
)

// publishInterval is the time between two publishes. It is short, because entries that are published
// together share a commit, which entries of independent trackers do not.
const publishInterval = time.Millisecond

// observation holds the samples before and after entries were published to the workers.
type observation struct {
	entries               int
	before, after         sample
	warmingUp, publishing time.Duration
}

// observe starts the workers, publishes warmUp entries and then the measured entries at an even rate, and
// stops the workers when they have acknowledged them.
func (r *runner) observe(ctx context.Context, step string, rate float64, warmUp, entries int) (o observation, err error) {
	streams := r.newStreams(step)
	g := groups{r.servers.redis, streams}
	if err := g.createStreams(ctx); err != nil {
		return o, err
	}
	ws, err := r.startWorkers(ctx, streams)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, ws.stop(ctx)) }()

	o.entries = entries
	r.rows += warmUp + entries
	out := newSharder(r.servers.redis, streams)
	if o.warmingUp, err = r.publish(ctx, out, rate, warmUp); err != nil {
		return o, err
	}
	if err := g.wait(ctx, ws, nil); err != nil {
		return o, err
	}
	if o.before, err = r.sample(ctx, ws); err != nil {
		return o, err
	}
	if o.publishing, err = r.publish(ctx, out, rate, entries); err != nil {
		return o, err
	}
	if err := g.wait(ctx, ws, nil); err != nil {
		return o, err
	}
	o.after, err = r.sample(ctx, ws)
	return o, err
}

// publish publishes entries at rate per second and returns how long that took.
func (r *runner) publish(ctx context.Context, out *sharder, rate float64, entries int) (time.Duration, error) {
	began := time.Now()
	_, err := r.publishUntil(ctx, out, rate, func(published int) bool { return published == entries })
	return time.Since(began), err
}

// publishUntil publishes entries at rate per second until enough returns true for the number of them, and returns that
// number. A fix carries the time of its XADD.
func (r *runner) publishUntil(ctx context.Context, out *sharder, rate float64, enough func(published int) bool) (published int, err error) {
	tick := time.NewTicker(publishInterval)
	defer tick.Stop()
	began := time.Now()
	for !enough(published) {
		for due := int(rate * time.Since(began).Seconds()); published < due && !enough(published); published++ {
			out.add(r.trackers.Next(time.Now()))
		}
		if err := out.publish(ctx); err != nil {
			return published, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return published, context.Cause(ctx)
		}
	}
	return published, nil
}
