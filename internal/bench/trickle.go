package bench

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// warmUp is how long entries are published before the measurement: the worker opens its connections
// with the first batches.
const warmUp = time.Second

// Figures at a steady rate. Those of a rate are named by [at]; the names below are, in JSON, those of the first rate.
const (
	latencyRate          figure = "latency_entries_per_second"
	latencyP50           figure = "latency_p50_ms"
	latencyP99           figure = "latency_p99_ms"
	latencyP999          figure = "latency_p999_ms"
	latencyCommits       figure = "latency_commits_per_second"
	latencyWorkerCPU     figure = "latency_worker_cpu_us_per_position"
	latencyPostgresCPU   figure = "latency_postgres_cpu_us_per_position"
	latencyRedisCPU      figure = "latency_redis_cpu_us_per_position"
	latencyPostgresRatio figure = "latency_to_drain_postgres_cpu_ratio"
)

// at names a figure of one of the rates, such as latency_at_200_p50_ms.
func at(f figure, rate int) figure {
	return figure(fmt.Sprintf("latency_at_%d_%s", rate, strings.TrimPrefix(string(f), "latency_")))
}

func trickleScenario() scenario {
	return scenario{
		name: "trickle", usual: true,
		about: "positions arrive at each steady rate of --latency-rate: delay, commits, CPU of all workers",
		run:   (*runner).trickle,
		figures: func(o Options) (all []definition) {
			for i, rate := range o.LatencyRates {
				for _, d := range trickleFigures(o, rate) {
					if i == 0 {
						all = append(all, definition{figure: d.figure, unit: d.unit, target: d.target, hidden: true})
					}
					d.figure = at(d.figure, rate)
					all = append(all, d)
				}
			}
			return all
		},
	}
}

// markedRate is the rate, in positions per second, for which there are targets of CPU.
const markedRate = 5000

// trickleFigures are the figures of one rate. What a position costs PostgreSQL may be more where several workers or
// streams share the rate.
func trickleFigures(o Options, rate int) []definition {
	var worker, postgres, postgresRatio Target
	switch {
	case rate != markedRate:
	case o.Workers > 1 || o.Streams > 1:
		postgres = atMost(40)
	default:
		worker, postgres, postgresRatio = atMost(14), atMost(22), atMost(2)
	}
	return []definition{
		{figure: latencyRate, label: fmt.Sprintf("trickle of %d/s", rate), unit: "positions/s"},
		{figure: latencyP50, label: "  XADD to commit, p50", unit: "ms", decimals: 1},
		{figure: latencyP99, label: "  XADD to commit, p99", unit: "ms", decimals: 1, target: atMost(15)},
		{figure: latencyP999, label: "  XADD to commit, p99.9", unit: "ms", decimals: 1},
		{figure: latencyCommits, label: "  database commits", unit: "/s", target: atMost(250)},
		{figure: latencyWorkerCPU, label: "  worker CPU", unit: "us/position", decimals: 2, target: worker},
		{figure: latencyPostgresCPU, label: "  PostgreSQL CPU", unit: "us/position", decimals: 2, target: postgres},
		{figure: latencyRedisCPU, label: "  Redis CPU", unit: "us/position", decimals: 2},
		{figure: latencyPostgresRatio, label: "  PostgreSQL CPU / that of the drain", decimals: 2, target: postgresRatio},
	}
}

// trickle measures the time from XADD to commit, and CPU, while entries arrive at each of the rates.
func (r *runner) trickle(ctx context.Context, m measurements) error {
	for i, rate := range r.opts.LatencyRates {
		t, err := r.trickleAt(ctx, rate)
		if err != nil {
			return err
		}
		for f, v := range t {
			m.set(at(f, rate), v)
			if i == 0 {
				m.set(f, v)
			}
		}
		m.divide(at(latencyPostgresCPU, rate), postgresCPU, at(latencyPostgresRatio, rate))
		if i == 0 {
			m.copy(at(latencyPostgresRatio, rate), latencyPostgresRatio)
		}
		r.log.Printf("  %d/s: p50 %.1f ms, p99 %.1f ms, %.0f commits/s", rate, t[latencyP50], t[latencyP99], t[latencyCommits])
		if err := r.expectRows(ctx); err != nil {
			return err
		}
	}
	return nil
}

// trickleAt measures one rate, in entries per second.
//
// The delay is the worker's metric processor_entry_delay_seconds: from the entry's id, which is the time
// of XADD truncated to milliseconds, to the reply to the commit. It is up to 1 ms too long, and quantiles
// are as precise as the histogram's buckets.
func (r *runner) trickleAt(ctx context.Context, perSecond int) (measurements, error) {
	commitsBefore, err := r.database.commits(ctx, application)
	if err != nil {
		return nil, err
	}
	rate := float64(perSecond)
	o, err := r.observe(ctx, "trickle", rate, int(rate*warmUp.Seconds()), max(int(rate*r.opts.LatencyFor.Seconds()), 1))
	if err != nil {
		return nil, err
	}
	commitsAfter, err := r.database.commits(ctx, application)
	if err != nil {
		return nil, err
	}
	delay, n := o.after.delay.Since(o.before.delay), float64(o.entries)
	return measurements{
		latencyRate:        n / o.publishing.Seconds(),
		latencyP50:         delay.Quantile(0.5) * milli,
		latencyP99:         delay.Quantile(0.99) * milli,
		latencyP999:        delay.Quantile(0.999) * milli,
		latencyCommits:     float64(commitsAfter-commitsBefore-commitsOfCommits) / (o.warmingUp + o.publishing).Seconds(),
		latencyWorkerCPU:   (o.after.workerCPU - o.before.workerCPU) * micro / n,
		latencyPostgresCPU: (o.after.servers.postgres - o.before.servers.postgres) * micro / n,
		latencyRedisCPU:    (o.after.servers.redis - o.before.servers.redis) * micro / n,
	}, nil
}
