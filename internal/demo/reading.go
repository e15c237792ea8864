package demo

import (
	"context"
	"time"
)

// refresh reads everything, with at most a second for each part, and returns the snapshot. What cannot be read now stays
// as it was, or is marked: outages are part of the demo.
func (d *demo) refresh(ctx context.Context) snapshot {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.last.reading
	r.pid, r.checks = 0, nil
	d.readWorker(ctx, &r)
	d.readRedis(ctx, &r)
	r.rows, r.rowsKnown = d.rows.last()
	r.kills, r.outages = d.director.kills.Load(), d.director.outages.Load()
	// Last: in another order, more rows could seem stored than published.
	r.published, r.duplicates, r.bad = d.fleet.Published(), d.director.duplicates.Published(), d.director.bad.Published()
	if d.servers.imitation {
		r.lag = r.published + r.duplicates + r.bad
		r.lag -= min(r.sum.ledger.Read, r.lag)
	}
	d.last = d.meter.snapshot(time.Now(), r, d.log.lastWarning())
	d.last.keys = d.keyboard != nil
	return d.last
}

// latest returns the last snapshot.
func (d *demo) latest() snapshot {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

func (d *demo) readWorker(ctx context.Context, r *reading) {
	starts, pid := d.keeper.state()
	r.starts, r.pid = starts, pid
	if pid == 0 {
		return
	}
	ready, err := d.scraper.readiness(ctx)
	if err != nil {
		return
	}
	r.checks = sortedChecks(ready)
	counted, err := d.scraper.figures(ctx)
	if now, _ := d.keeper.state(); err == nil && now == starts {
		r.sum = d.history.add(starts, counted)
	}
}

func (d *demo) readRedis(ctx context.Context, r *reading) {
	// The worker reports a Redis outage itself, and the next call trims as well.
	_ = d.queue.trim(ctx, r.sum.ledger.Read)
	if p, err := d.queue.progress(ctx); err == nil {
		r.pending, r.lag = p.pending, p.lag
	}
	if n, err := d.queue.countLetters(ctx); err == nil && n != r.letters.total {
		if found, err := d.queue.letters(ctx); err == nil {
			r.letters = found
		}
	}
}
