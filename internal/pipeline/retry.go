package pipeline

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"

	"processor/internal/store"
)

// untilDone repeats a command to Redis until it works, or returns the cause of work's end.
func (w *worker) untilDone(work context.Context, b *batch, what string, command func() error) error {
	p, stream := w.pipeline, b.consumer.Stream()
	condition := "acknowledge " + stream
	var began time.Time // of the trouble; zero while there is none
	failed := func(err error, _ time.Duration) {
		p.Metrics.AckErrors.Inc()
		if began.IsZero() {
			began = time.Now()
			p.Logger.Warn("cannot "+what+"; trying again until it works", "stream", stream, "error", err)
		}
		if time.Since(began) > graceBeforeNotReady {
			p.Health.Fail(condition, err)
		}
	}
	_, err := backoff.Retry(work, func() (struct{}, error) { return struct{}{}, command() },
		backoff.WithBackOff(store.NewBackOff()), backoff.WithMaxElapsedTime(0), backoff.WithNotify(failed))
	if err != nil {
		return err
	}
	if !began.IsZero() {
		p.Logger.Info("can "+what+" again", "stream", stream, "after", time.Since(began).Round(time.Millisecond).String())
		p.Health.Recover(condition)
	}
	return nil
}
