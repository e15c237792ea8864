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
	mebi  = 1 << 20
)

// drain measures the workers on streams that were filled beforehand.
func (r *runner) drain(ctx context.Context, m measurements) (err error) {
	if err := r.empty(ctx); err != nil {
		return err
	}
	g := groups{r.servers.redis, r.load.streams}
	if err := g.createAtEnd(ctx); err != nil {
		return err
	}
	ws, err := r.startWorkers(ctx, r.load.streams)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ws.stop(ctx)) }()
	m.set(startSeconds, ws.started().Seconds())

	r.rows = r.opts.Positions
	first, err := r.drainOnce(ctx, g, ws)
	if err != nil {
		return err
	}
	peak, err := ws.peakResident()
	if err != nil {
		return err
	}
	m.set(drainSeconds, first.seconds)
	m.set(pipelineRate, first.rate)
	m.set(workerCPU, first.workerCPU)
	m.set(postgresCPU, first.postgresCPU)
	m.set(redisCPU, first.redisCPU)
	m.set(allocations, first.allocations)
	m.set(allocatedBytes, first.allocatedBytes)
	m.set(peakMemory, float64(peak)/mebi)
	r.log.Printf("  %.0f positions/s", first.rate)
	if !r.opts.Replay {
		return nil
	}

	second, err := r.drainOnce(ctx, g, ws)
	if err != nil {
		return err
	}
	m.set(replayRate, second.rate)
	m.set(replayWorkerCPU, second.workerCPU)
	m.set(replayPostgresCPU, second.postgresCPU)
	r.log.Printf("  replay: %.0f positions/s", second.rate)
	return nil
}

// drained holds the figures of one drain. Except for seconds and rate (positions per second) they are per
// position; CPU is in microseconds.
type drained struct {
	seconds, rate                    float64
	workerCPU, postgresCPU, redisCPU float64
	allocations, allocatedBytes      float64
}

// drainOnce rewinds the groups and measures the workers until all entries are acknowledged.
func (r *runner) drainOnce(ctx context.Context, g groups, ws workers) (drained, error) {
	before, err := r.sample(ctx, ws)
	if err != nil {
		return drained{}, err
	}
	if err := stopAndRewind(ctx, g, ws); err != nil {
		return drained{}, err
	}
	began := time.Now()
	if err := ws.signal(syscall.SIGCONT); err != nil {
		return drained{}, err
	}
	if err := g.wait(ctx, ws); err != nil {
		return drained{}, err
	}
	took := time.Since(began)
	after, err := r.sample(ctx, ws)
	if err != nil {
		return drained{}, err
	}
	if err := r.expectRows(ctx); err != nil {
		return drained{}, err
	}
	n := float64(r.opts.Positions)
	return drained{
		seconds:        took.Seconds(),
		rate:           n / took.Seconds(),
		workerCPU:      (after.workerCPU - before.workerCPU) * micro / n,
		postgresCPU:    (after.servers.postgres - before.servers.postgres) * micro / n,
		redisCPU:       (after.servers.redis - before.servers.redis) * micro / n,
		allocations:    (after.allocatedObjects - before.allocatedObjects) / n,
		allocatedBytes: (after.allocatedBytes - before.allocatedBytes) / n,
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
