package service

import (
	"fmt"
	"time"

	"processor/internal/observe"
	"processor/internal/position"
	"processor/internal/store"
)

// storeEvents returns the calls that a Store makes for metrics and health.
func storeEvents(metrics *observe.Metrics, health *observe.Health) store.Events {
	// Series that begin at their first event hide it from increase().
	for _, path := range store.Paths() {
		metrics.BatchWrite.WithLabelValues(path)
	}
	for _, class := range store.Classes() {
		metrics.WriteErrors.WithLabelValues(string(class))
	}
	for _, reason := range position.Reasons() {
		metrics.DeadLetters.WithLabelValues(string(reason))
	}
	return store.Events{
		Wrote: func(path string, _ int, took time.Duration) {
			metrics.BatchWrite.WithLabelValues(path).Observe(took.Seconds())
		},
		Failed:        func(class store.Class) { metrics.WriteErrors.WithLabelValues(string(class)).Inc() },
		CommitUnknown: metrics.CommitUnknown.Inc,
		Trouble: func(class store.Class, since time.Time, err error) {
			switch {
			case err == nil:
				health.Recover(string(observe.Writes))
			case class == store.Schema, class == store.Unexpected, time.Since(since) > observe.Grace:
				health.Fail(string(observe.Writes), fmt.Errorf("%s: %w", class, err))
			}
		},
	}
}
