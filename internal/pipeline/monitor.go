package pipeline

import (
	"context"
	"errors"
	"time"

	"processor/internal/observe"
	"processor/internal/retry"
)

// monitorInterval is how often Redis is asked about the streams.
const monitorInterval = 5 * time.Second

// monitor keeps the gauges of the streams current, looks for entries that are lost, and tidies
// up behind consumers that are gone.
func (p *Pipeline) monitor(ctx context.Context) {
	watchers := make([]*watcher, len(p.Consumers))
	for i, c := range p.Consumers {
		watchers[i] = &watcher{pipeline: p, consumer: c}
	}
	advance := progress{at: time.Now()}
	stalled := false
	for ctx.Err() == nil {
		waiting := p.Ledger.Snapshot().InFlight > 0
		for _, w := range watchers {
			waiting = w.watch(ctx) || waiting
		}
		was := stalled
		stalled = advance.stalled(time.Now(), waiting, p.Ledger.Snapshot())
		p.reportProgress(was, stalled)
		if retry.Sleep(ctx, monitorInterval) != nil {
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
