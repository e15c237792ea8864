package pipeline

import (
	"context"
	"errors"
	"time"

	"processor/internal/observe"
	"processor/internal/stream"
)

// monitorInterval is how often Redis is asked about the streams.
const monitorInterval = 5 * time.Second

// consumerExpiry is how long a consumer must have been silent to be removed, where it holds
// nothing. A worker that lives asks every second.
const consumerExpiry = time.Hour

// trimWarning is the time until trimming would reach unread entries below which it is logged.
const trimWarning = 10 * time.Minute

// monitor keeps the gauges of the streams current, looks for entries that are lost, and tidies
// up behind consumers that are gone.
func (p *Pipeline) monitor(ctx context.Context) {
	forecasts := make([]forecast, len(p.Consumers))
	advance := progress{at: time.Now()}
	stalled := false
	for ctx.Err() == nil {
		waiting := p.Ledger.Snapshot().InFlight > 0
		for i, c := range p.Consumers {
			unread, err := p.look(ctx, c, &forecasts[i])
			if err != nil && ctx.Err() == nil {
				// The readers report an outage; the gauges just stay as they were.
				p.Logger.Debug("stream not looked at", "stream", c.Stream(), "error", err)
			}
			waiting = waiting || unread
		}
		was := stalled
		stalled = advance.stalled(time.Now(), waiting, p.Ledger.Snapshot())
		p.reportProgress(was, stalled)
		if sleep(ctx, monitorInterval) != nil {
			return
		}
	}
}

func (p *Pipeline) reportProgress(was, stalled bool) {
	if stalled {
		p.Health.Fail("progress", errStalled)
	} else {
		p.Health.Recover("progress")
	}
	switch {
	case stalled && !was:
		p.Logger.Warn("no progress", "error", errStalled)
	case was && !stalled:
		p.Logger.Info("entries are finished again")
	}
}

// stallAfter is how long entries may wait without one being finished.
const stallAfter = time.Minute

var errStalled = errors.New("entries are waiting, and none was finished for a minute")

// progress notes when an entry was last finished, or none was waiting.
type progress struct {
	at       time.Time
	finished uint64
}

func (g *progress) stalled(now time.Time, waiting bool, l observe.LedgerSnapshot) bool {
	if finished := l.Read - l.InFlight; !waiting || finished != g.finished {
		g.at, g.finished = now, finished
	}
	return now.Sub(g.at) > stallAfter
}

// look reports whether the stream has entries that the group has yet to deliver.
func (p *Pipeline) look(ctx context.Context, c *stream.Consumer, f *forecast) (unread bool, err error) {
	stats, err := c.Stats(ctx)
	if err != nil {
		return false, err
	}
	unread = stats.Lag != nil && *stats.Lag > 0
	warned := f.near
	reach := f.update(time.Now(), stats)
	if f.near && !warned {
		p.Logger.Warn("the stream is trimmed faster than it is read: unread entries will be lost",
			"stream", c.Stream(), "in", reach.Round(time.Second).String(), "mend", "add workers, or raise the limit at which the stream is trimmed")
	}
	p.Metrics.SetStream(c.Stream(), observe.StreamStats{
		Length:        stats.Length,
		Lag:           stats.Lag,
		Pending:       stats.Pending,
		OldestPending: stats.OldestPending,
		DeadLetters:   stats.DeadLetters,
		TrimReaches:   reach,
	})
	if stats.TrimmedUnread > 0 {
		if err := p.countTrimmed(ctx, c, stats); err != nil {
			return unread, err
		}
	}
	gone, err := c.RemoveGone(ctx, consumerExpiry)
	if len(gone) > 0 {
		p.Logger.Info("consumers that were silent for an hour and held nothing are removed", "stream", c.Stream(), "consumers", gone)
	}
	return unread, err
}

// countTrimmed reports a loss that is not ours. Only one replica counts it: who settles it.
func (p *Pipeline) countTrimmed(ctx context.Context, c *stream.Consumer, stats stream.Stats) error {
	settled, err := c.SettleTrimmed(ctx, stats)
	if err != nil || !settled {
		return err
	}
	p.Metrics.TrimmedUnread.WithLabelValues(c.Stream()).Add(float64(stats.TrimmedUnread))
	p.Logger.Error("entries were trimmed from the stream before they were read; they are lost",
		"stream", c.Stream(), "entries", stats.TrimmedUnread, "mend", "raise the limit at which the stream is trimmed, or add workers")
	return nil
}

// steadyLooks is how many looks in a row must find trimming closing in before it is believed: a
// lag goes up and down by a batch from one look to the next.
const steadyLooks = 3

// forecast tells when trimming would reach unread entries, from several looks at a stream.
type forecast struct {
	at            time.Time
	trimmed, read int64
	closing       int // looks in a row
	near          bool
}

// update returns the time until then; nil where the stream is not being trimmed, or reading
// keeps ahead of it.
func (f *forecast) update(now time.Time, s stream.Stats) *time.Duration {
	before := *f
	*f = forecast{at: now, trimmed: s.Added - s.Length, read: s.Read}
	if before.at.IsZero() || s.Read == 0 {
		return nil
	}
	trimming := f.trimmed - before.trimmed
	closing := trimming - (f.read - before.read)
	if trimming <= 0 || closing <= 0 {
		return nil
	}
	if f.closing = before.closing + 1; f.closing < steadyLooks {
		return nil
	}
	// What lies between: entries that were read and are still on the stream.
	between := max(f.read-f.trimmed, 0)
	reach := time.Duration(float64(between) / float64(closing) * float64(now.Sub(before.at)))
	f.near = reach < trimWarning
	return &reach
}
