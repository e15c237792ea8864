package bench

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// workers are the worker processes of one measurement. They share a consumer group.
type workers []*worker

// startWorkers starts as many workers as the options say and returns when all are ready. The caller stops them.
func (r *runner) startWorkers(ctx context.Context, streams []string) (workers, error) {
	var ws workers
	for number := range r.opts.Workers {
		w, err := r.startWorker(ctx, fmt.Sprintf("bench-%d", number+1), streams)
		if err != nil {
			return nil, errors.Join(err, ws.stop(ctx))
		}
		ws = append(ws, w)
	}
	return ws, nil
}

// started returns how long the slowest of them took from the fork to readiness.
func (ws workers) started() (slowest time.Duration) {
	for _, w := range ws {
		slowest = max(slowest, w.started)
	}
	return slowest
}

// failure returns an error if one of them has ended.
func (ws workers) failure() error {
	for _, w := range ws {
		select {
		case <-w.ended:
			return w.failure()
		default:
		}
	}
	return nil
}

func (ws workers) signal(s syscall.Signal) error {
	for _, w := range ws {
		if err := w.signal(s); err != nil {
			return err
		}
	}
	return nil
}

// peakResident returns the maximum resident memory of the largest of them in bytes.
func (ws workers) peakResident() (largest uint64, err error) {
	for _, w := range ws {
		peak, err := peakResident(w.cmd.Process.Pid)
		if err != nil {
			return 0, err
		}
		largest = max(largest, peak)
	}
	return largest, nil
}

// stop stops all of them, one after the other, and returns their errors.
func (ws workers) stop(ctx context.Context) (err error) {
	for _, w := range ws {
		err = errors.Join(err, w.stop(ctx))
	}
	return err
}
