package demo

import (
	"maps"
	"slices"
	"time"

	"processor/internal/observe"
)

const (
	// window is the period of rates and quantiles.
	window = 5 * time.Second
	// warningShown is how long a warning stays visible.
	warningShown = 10 * time.Second
)

// phase is the phase of the demo.
type phase int

const (
	publishing phase = iota
	draining         // the fleet has stopped, the worker stores the rest
	ended
)

// snapshot is the state that the display shows.
type snapshot struct {
	phase   phase
	elapsed time.Duration
	limit   time.Duration // 0: until Ctrl-C
	devices int           // simulated devices
	rate    int           // target rate, positions per second
	keys    bool          // keys play scenes

	reading
	// Rates and quantiles cover the last window, or the whole run once it has ended.
	publishedRate, storedRate float64 // positions per second
	write, delay              quantiles
	warning                   warning // zero: none within warningShown
}

// reading is what was read of worker, Redis and PostgreSQL at one moment.
type reading struct {
	published       uint64 // positions of the fleet
	duplicates, bad uint64
	kills, outages  int64

	rows      uint64
	rowsKnown bool // false: rows is the last known count

	sum    figures // of all workers one after the other
	starts int     // how often a worker was started
	pid    int     // of the worker; 0: none is running
	checks []checkState

	lag     uint64
	pending int64
	letters letters
}

// checkState is a check of /readyz.
type checkState struct {
	name string
	observe.Condition
}

// sortedChecks returns the checks by name.
func sortedChecks(r observe.Readiness) []checkState {
	var all []checkState
	for _, name := range slices.Sorted(maps.Keys(r.Checks)) {
		all = append(all, checkState{name, r.Checks[name]})
	}
	return all
}

// quantiles are in seconds, NaN where nothing was observed.
type quantiles struct{ p50, p99 float64 }

// observation is a reading with its time.
type observation struct {
	at time.Time
	reading
}

// meter computes snapshots from readings.
type meter struct {
	options Options
	phase   phase
	began   time.Time
	stopped time.Time     // when the fleet stopped; set from draining on
	recent  []observation // oldest first; at most the first one is older than window
}

func newMeter(o Options, began time.Time) *meter {
	return &meter{options: o, began: began, recent: []observation{{at: began}}}
}

// drain records that the fleet has stopped.
func (m *meter) drain() { m.phase, m.stopped = draining, time.Now() }

// end records that the run has ended.
func (m *meter) end() { m.phase = ended }

// snapshot adds a reading and returns the snapshot. Readings come in the order of their times.
func (m *meter) snapshot(now time.Time, r reading, w warning) snapshot {
	m.recent = append(m.recent, observation{now, r})
	for len(m.recent) > 2 && now.Sub(m.recent[1].at) >= window {
		m.recent = m.recent[1:]
	}
	before, publishedUntil := m.recent[0], now
	if m.phase == ended {
		before, publishedUntil = observation{at: m.began}, m.stopped
	}
	s := snapshot{
		phase:         m.phase,
		elapsed:       now.Sub(m.began),
		limit:         m.options.For,
		devices:       m.options.Devices,
		rate:          m.options.Rate,
		reading:       r,
		publishedRate: float64(r.published-before.published) / publishedUntil.Sub(before.at).Seconds(),
		storedRate:    float64(r.sum.ledger.Inserted-before.sum.ledger.Inserted) / now.Sub(before.at).Seconds(),
	}
	write, delay := r.sum.write.Since(before.sum.write), r.sum.delay.Since(before.sum.delay)
	s.write = quantiles{write.Quantile(0.5), write.Quantile(0.99)}
	s.delay = quantiles{delay.Quantile(0.5), delay.Quantile(0.99)}
	if now.Sub(w.at) < warningShown {
		s.warning = w
	}
	return s
}
