package service

import (
	"log/slog"
	"time"

	"processor/internal/observe"
	"processor/internal/position"
	"processor/internal/store"
)

// storeEvents returns the calls that a Store makes for metrics, health and the log.
func storeEvents(metrics *observe.Metrics, health *observe.Health, logger *slog.Logger) store.Events {
	// Series that begin at their first event hide it from increase().
	for _, path := range store.Paths() {
		metrics.BatchWrite.WithLabelValues(path)
	}
	for _, class := range store.Classes() {
		metrics.WriteErrors.WithLabelValues(string(class))
		metrics.BatchesHeld.WithLabelValues(string(class))
	}
	for _, reason := range position.Reasons() {
		metrics.DeadLetters.WithLabelValues(string(reason))
	}
	writes := health.NewIncident(logger, observe.IncidentOptions{Name: observe.Writes, Grace: observe.Grace,
		Began: "database unavailable; retrying the batch", Ended: "database available again"})
	return store.Events{
		Wrote: func(path string, _ int, took time.Duration) {
			metrics.BatchWrite.WithLabelValues(path).Observe(took.Seconds())
		},
		Failed:        func(class store.Class) { metrics.WriteErrors.WithLabelValues(string(class)).Inc() },
		Held:          func(class store.Class, n int) { metrics.BatchesHeld.WithLabelValues(string(class)).Set(float64(n)) },
		CommitUnknown: metrics.CommitUnknown.Inc,
		Trouble: func(class store.Class, err error) {
			if err == nil {
				writes.Recover()
				return
			}
			urgent := class == store.Schema || class == store.Unexpected
			writes.FailAs(string(class), urgent, err, "class", class, "hint", store.Hint(err))
		},
	}
}
