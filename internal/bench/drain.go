package bench

import (
	"context"
	"errors"
	"syscall"
	"time"

	"processor/internal/stream"
)

const (
	micro = 1e6
	milli = 1e3
	mebi  = 1 << 20
)

// Figures of the drain.
const (
	pipelineRate   figure = "pipeline_positions_per_second"
	ratio          figure = "pipeline_to_raw_ratio"
	drainSeconds   figure = "pipeline_drain_seconds"
	startSeconds   figure = "worker_start_seconds"
	workerCPU      figure = "worker_cpu_us_per_position"
	postgresCPU    figure = "postgres_cpu_us_per_position"
	redisCPU       figure = "redis_cpu_us_per_position"
	allocations    figure = "worker_allocations_per_position"
	allocatedBytes figure = "worker_allocated_bytes_per_position"
	peakMemory     figure = "worker_peak_resident_mib"
)

func drainScenario() scenario {
	return scenario{
		name: "drain", usual: true,
		about: "streams that hold the positions are drained into an empty table",
		run:   (*runner).drain,
		figures: func(Options) []definition {
			return []definition{
				{figure: pipelineRate, label: "pipeline", unit: "positions/s", target: atLeast(100_000)},
				{figure: ratio, label: "pipeline / raw COPY", decimals: 3, target: atLeast(0.72)},
				{figure: workerCPU, label: "  worker CPU", unit: "us/position", decimals: 2, target: atMost(2.6)},
				{figure: postgresCPU, label: "  PostgreSQL CPU", unit: "us/position", decimals: 2},
				{figure: redisCPU, label: "  Redis CPU", unit: "us/position", decimals: 2},
				{figure: allocations, label: "  worker allocations", unit: "/position", decimals: 2, target: atMost(6)},
				{figure: allocatedBytes, label: "  worker allocated bytes", unit: "/position"},
				{figure: peakMemory, label: "  worker peak resident memory", unit: "MiB", decimals: 1, target: atMost(64)},
				{figure: drainSeconds, label: "  drain, first read to last XACK", unit: "s", decimals: 2},
				{figure: startSeconds, label: "  worker start to ready", unit: "s", decimals: 2},
			}
		},
	}
}

// drain measures the workers on streams that were filled beforehand.
func (r *runner) drain(ctx context.Context, m measurements) error {
	load, err := r.loaded(ctx)
	if err != nil {
		return err
	}
	if err := r.empty(ctx); err != nil {
		return err
	}
	d, err := r.drainStreams(ctx, load.streams)
	if err != nil {
		return err
	}
	m.set(startSeconds, d.started)
	m.set(drainSeconds, d.seconds)
	m.set(pipelineRate, d.rate)
	m.set(workerCPU, d.workerCPU)
	m.set(postgresCPU, d.postgresCPU)
	m.set(redisCPU, d.redisCPU)
	m.set(allocations, d.allocations)
	m.set(allocatedBytes, d.allocatedBytes)
	m.set(peakMemory, d.peakMemory)
	r.log.Printf("  %.0f positions/s", d.rate)
	return r.expectRows(ctx)
}

// drained holds the figures of one drain. Rate is in positions per second, memory in MiB; CPU, in microseconds, and
// allocations are per position.
type drained struct {
	started, seconds, rate           float64
	workerCPU, postgresCPU, redisCPU float64
	allocations, allocatedBytes      float64
	peakMemory                       float64
}

// drainStreams starts the workers, measures them until all entries of the streams, opts.Positions in number and new in
// the table, are acknowledged, and stops them.
func (r *runner) drainStreams(ctx context.Context, streams []string) (d drained, err error) {
	g := groups{r.servers.redis, streams}
	if err := g.createAtEnd(ctx); err != nil {
		return d, err
	}
	ws, err := r.startWorkers(ctx, streams)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, ws.stop(ctx)) }()

	r.rows += r.opts.Positions
	before, err := r.sample(ctx, ws)
	if err != nil {
		return d, err
	}
	if err := stopAndRewind(ctx, g, ws); err != nil {
		return d, err
	}
	began := time.Now()
	if err := ws.signal(syscall.SIGCONT); err != nil {
		return d, err
	}
	if err := g.wait(ctx, ws, nil); err != nil {
		return d, err
	}
	took := time.Since(began)
	after, err := r.sample(ctx, ws)
	if err != nil {
		return d, err
	}
	peak, err := ws.peakResident()
	if err != nil {
		return d, err
	}
	n := float64(r.opts.Positions)
	return drained{
		started:        ws.started().Seconds(),
		seconds:        took.Seconds(),
		rate:           n / took.Seconds(),
		workerCPU:      (after.workerCPU - before.workerCPU) * micro / n,
		postgresCPU:    (after.servers.postgres - before.servers.postgres) * micro / n,
		redisCPU:       (after.servers.redis - before.servers.redis) * micro / n,
		allocations:    (after.allocatedObjects - before.allocatedObjects) / n,
		allocatedBytes: (after.allocatedBytes - before.allocatedBytes) / n,
		peakMemory:     float64(peak) / mebi,
	}, nil
}

// stopAndRewind stops the workers with SIGSTOP, waits until their blocked reads have returned, and rewinds
// the groups. The workers then start to read all streams when they continue.
func stopAndRewind(ctx context.Context, g groups, ws workers) error {
	if err := ws.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	select {
	case <-time.After(stream.BlockTimeout + pollInterval):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return g.rewind(ctx)
}
