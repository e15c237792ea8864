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
		watchers[i] = p.newWatcher(c)
	}
	advancing := p.Health.NewIncident(p.Logger, observe.IncidentOptions{Name: observe.Progress,
		Began: "no progress", Ended: "entries are finished again"})
	p.Health.Recover(observe.Progress) // /readyz shows it from the start
	advance := progress{at: time.Now()}
	for ctx.Err() == nil {
		waiting := p.Ledger.Snapshot().InFlight > 0
		for _, w := range watchers {
			waiting = w.watch(ctx) || waiting
		}
		if advance.stalled(time.Now(), waiting, p.Ledger.Snapshot()) {
			advancing.Fail(errStalled)
		} else {
			advancing.Recover()
		}
		if retry.Sleep(ctx, monitorInterval) != nil {
			return
		}
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
