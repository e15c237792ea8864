package pipeline

import (
	"context"
	"errors"
	"time"

	"processor/internal/observe"
	"processor/internal/stream"
)

// consumerExpiry is how long a consumer must have been silent to be removed, where it holds
// nothing. A worker that lives asks every second.
const consumerExpiry = time.Hour

// blindAfter is how many looks in a row must fail before it is reported: one fails easily.
const blindAfter = 3

// watcher looks at one stream for the monitor.
type watcher struct {
	pipeline *Pipeline
	consumer *stream.Consumer
	forecast forecast
	pace     pace
	blind    *observe.Incident
	letters  int64 // as last seen
	failures int   // looks in a row
	looked   bool  // once, at least
}

func (p *Pipeline) newWatcher(c *stream.Consumer) *watcher {
	return &watcher{pipeline: p, consumer: c, blind: p.Health.NewIncident(p.Logger.With("stream", c.Stream()), observe.IncidentOptions{
		Name:  observe.Monitor.OfStream(c.Stream()),
		Began: "stream cannot be watched: its gauges stand still, and lost entries may go unnoticed",
		Ended: "stream is watched again",
		Hint:  stream.Hint,
	})}
}

// watch looks at the stream, and reports whether that has entries that the group has yet to
// deliver.
func (w *watcher) watch(ctx context.Context) (unread bool) {
	unread, err := w.look(ctx)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		w.failed(err)
	default:
		w.worked()
	}
	return unread
}

// failed reports what lasts: a right is missing, or a key holds something else. An outage is the reader's
// to report.
func (w *watcher) failed(err error) {
	w.failures++
	if w.failures >= blindAfter && !w.pipeline.Health.Failing(observe.Reading.OfStream(w.consumer.Stream())) {
		w.blind.Fail(err)
	}
}

func (w *watcher) worked() {
	w.failures = 0
	w.blind.Recover()
}

// look does each of its parts, whichever other one fails.
func (w *watcher) look(ctx context.Context) (unread bool, err error) {
	letters, lettersErr := w.consumer.DeadLetterLength(ctx)
	if lettersErr == nil {
		w.letters = letters
	}
	stats, statsErr := w.pipeline.countTrimmed(ctx, w.consumer)
	if statsErr == nil {
		w.reportNeverFed(stats)
		w.show(stats, w.oldestUnread(ctx, stats))
	}
	gone, goneErr := w.consumer.RemoveGone(ctx, consumerExpiry)
	if len(gone) > 0 {
		w.pipeline.Logger.Info("consumers that were silent for an hour and held nothing are removed",
			"stream", w.consumer.Stream(), "consumers", gone)
	}
	return stats.Lag != nil && *stats.Lag > 0, errors.Join(statsErr, lettersErr, goneErr)
}

// reportNeverFed warns at the start where nothing was ever added to the stream: its name may be wrong.
func (w *watcher) reportNeverFed(stats stream.Stats) {
	if !w.looked && (!stats.Exists || (stats.Added != nil && *stats.Added == 0)) {
		w.pipeline.Logger.Warn("stream did not exist: nothing was ever added to it", "stream", w.consumer.Stream(),
			"hint", "correct REDIS_STREAM where entries are published to another name; processor doctor lists names that look alike")
	}
	w.looked = true
}

// oldestUnread is nil where it is not known, also where the user may not read entries without the group.
func (w *watcher) oldestUnread(ctx context.Context, stats stream.Stats) *time.Duration {
	age, err := w.consumer.OldestUnread(ctx, stats)
	if err != nil {
		w.pipeline.Logger.Debug("the oldest unread entry cannot be found", "stream", w.consumer.Stream(), "error", err)
		return nil
	}
	return age
}

func (w *watcher) show(stats stream.Stats, oldestUnread *time.Duration) {
	now := time.Now()
	reach := w.forecast.update(now, stats)
	if w.forecast.warns(now, reach) {
		w.pipeline.Logger.Warn("the stream is trimmed faster than it is read: unread entries will be lost",
			"stream", w.consumer.Stream(), "in", reach.Round(time.Second).String(), "hint", "add workers, or raise the limit at which the stream is trimmed")
	}
	w.pipeline.Metrics.SetStream(w.consumer.Stream(), observe.StreamStats{
		Length:        stats.Length,
		Added:         stats.Added,
		Lag:           stats.Lag,
		Pending:       stats.Pending,
		OldestPending: stats.OldestPending,
		DeadLetters:   w.letters,
		OldestUnread:  oldestUnread,
		CatchUp:       w.pace.update(now, stats.Counts()),
		TrimReaches:   reach,
	})
}

// countTrimmed asks for the stream's state, and reports entries that were trimmed unread, a loss
// that is not ours. Only one replica counts it: the one that settles it.
func (p *Pipeline) countTrimmed(ctx context.Context, c *stream.Consumer) (stream.Stats, error) {
	stats, err := c.Stats(ctx)
	if err != nil {
		return stats, err
	}
	settled, err := c.Settle(ctx, stats)
	if err != nil || !settled {
		return stats, err
	}
	if stats.TrimmedUnread > 0 {
		p.Metrics.TrimmedUnread.WithLabelValues(c.Stream()).Add(float64(stats.TrimmedUnread))
		p.sayTrimmed(c.Stream(), stats.TrimmedUnread)
	}
	if stats.Doubtful > 0 {
		p.Logger.Warn("entries may have been trimmed before they were read: Redis's count of reads was wrong",
			"stream", c.Stream(), "entries_at_most", stats.Doubtful,
			"hint", "normal after a restart or failover of Redis, or XGROUP SETID: the count is corrected")
	}
	return stats, nil
}

func (p *Pipeline) sayTrimmed(name string, entries int64) {
	p.Logger.Error("entries were trimmed from the stream before they were read; they are lost",
		"stream", name, "entries", entries, "hint", "raise the limit at which the stream is trimmed, or add workers")
}
