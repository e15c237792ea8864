package bench

import (
	"context"
	"errors"
	"time"
)

const (
	// warmUp is how long entries are published before the measurement: the worker opens its connections
	// with the first batches.
	warmUp = time.Second
	// singleRate is in entries per second: low enough that the system is idle between two entries.
	singleRate = 10
	// singleWarmUp is the number of single entries before the measurement.
	singleWarmUp = 10
	// publishInterval is the time between two publishes. It is short, because entries that are published
	// together share a commit, which entries of independent trackers do not.
	publishInterval = time.Millisecond

	milli = 1e3
)

// steady measures the time from XADD to commit, and CPU, while entries arrive at a steady rate.
//
// The delay is the worker's metric processor_entry_delay_seconds: from the entry's id, which is the time
// of XADD truncated to milliseconds, to the reply to the commit. It is up to 1 ms too long, and quantiles
// are as precise as the histogram's buckets.
func (r *runner) steady(ctx context.Context, m measurements) error {
	commitsBefore, err := r.database.commits(ctx, application)
	if err != nil {
		return err
	}
	rate := float64(r.opts.LatencyRate)
	o, err := r.observe(ctx, "steady", rate, int(rate*warmUp.Seconds()), int(rate*r.opts.LatencyFor.Seconds()))
	if err != nil {
		return err
	}
	commitsAfter, err := r.database.commits(ctx, application)
	if err != nil {
		return err
	}
	delay, n := o.after.delay.Since(o.before.delay), float64(o.entries)
	m.set(latencyRate, n/o.publishing.Seconds())
	m.set(latencyP50, delay.Quantile(0.5)*milli)
	m.set(latencyP99, delay.Quantile(0.99)*milli)
	m.set(latencyP999, delay.Quantile(0.999)*milli)
	m.set(latencyCommits, float64(commitsAfter-commitsBefore-commitsOfCommits)/(o.warmingUp+o.publishing).Seconds())
	m.set(latencyWorkerCPU, (o.after.workerCPU-o.before.workerCPU)*micro/n)
	m.set(latencyPostgresCPU, (o.after.servers.postgres-o.before.servers.postgres)*micro/n)
	m.set(latencyPostgresRatio, m[latencyPostgresCPU]/m[postgresCPU])
	r.log.Printf("  p50 %.1f ms, p99 %.1f ms", m[latencyP50], m[latencyP99])
	return r.expectRows(ctx)
}

// single measures the time from XADD to commit of entries that arrive while the system is idle.
func (r *runner) single(ctx context.Context, m measurements) error {
	o, err := r.observe(ctx, "single", singleRate, singleWarmUp, r.opts.SingleEntries)
	if err != nil {
		return err
	}
	delay := o.after.delay.Since(o.before.delay)
	m.set(singleP50, delay.Quantile(0.5)*milli)
	m.set(singleP99, delay.Quantile(0.99)*milli)
	r.log.Printf("  p50 %.1f ms, p99 %.1f ms", m[singleP50], m[singleP99])
	return r.expectRows(ctx)
}

// observation holds the samples before and after entries were published to a worker.
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
	if err := g.createAtEnd(ctx); err != nil {
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
	if o.warmingUp, err = r.publishEvenly(ctx, out, rate, warmUp); err != nil {
		return o, err
	}
	if err := g.wait(ctx, ws); err != nil {
		return o, err
	}
	if o.before, err = r.sample(ctx, ws); err != nil {
		return o, err
	}
	if o.publishing, err = r.publishEvenly(ctx, out, rate, entries); err != nil {
		return o, err
	}
	if err := g.wait(ctx, ws); err != nil {
		return o, err
	}
	o.after, err = r.sample(ctx, ws)
	return o, err
}

// publishEvenly publishes entries at rate per second and returns how long that took.
func (r *runner) publishEvenly(ctx context.Context, out *sharder, rate float64, entries int) (time.Duration, error) {
	tick := time.NewTicker(publishInterval)
	defer tick.Stop()
	began, published := time.Now(), 0
	for {
		due := min(int(rate*time.Since(began).Seconds()), entries)
		for ; published < due; published++ {
			out.add(r.trackers.Next(time.Now()))
		}
		if err := out.publish(ctx); err != nil {
			return 0, err
		}
		if published == entries {
			return time.Since(began), nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}
