package demo

import (
	"fmt"
	"time"

	"processor/internal/device"
	"processor/internal/fleet"
	"processor/internal/histogram"
	"processor/internal/observe"
	"processor/internal/service"
)

const (
	// window is the period of rates and quantiles.
	window = 5 * time.Second
	// newestPositions is the number of positions shown.
	newestPositions = 5
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
	phase     phase
	elapsed   time.Duration
	limit     time.Duration // 0: until Ctrl-C
	devices   int           // simulated devices
	rate      int           // target rate, positions per second
	published uint64
	ledger    observe.LedgerSnapshot

	// Rates and quantiles cover the last window, or the whole run once it has ended.
	publishedRate, storedRate float64 // positions per second
	write, delay              quantiles
	seen                      int // devices in the worker's cache
	newest                    []device.NamedState
	warning                   warning // zero: none within warningShown
}

// quantiles are in seconds, NaN where nothing was observed.
type quantiles struct{ p50, p99 float64 }

// lag counts the entries that were published and that the worker has yet to read.
func (s snapshot) lag() uint64 {
	return s.published - min(s.ledger.Read, s.published)
}

// observation holds the counters at one moment.
type observation struct {
	at           time.Time
	published    uint64
	ledger       observe.LedgerSnapshot
	write, delay histogram.Histogram
}

// meter computes snapshots from the counters of worker and publisher.
type meter struct {
	options   Options
	service   *service.Service
	publisher *fleet.Publisher
	log       *workerLog
	phase     phase
	began     time.Time
	stopped   time.Time     // when the fleet stopped; set from draining on
	recent    []observation // oldest first; at most the first one is older than window
}

func newMeter(o Options, s *service.Service, p *fleet.Publisher, log *workerLog) *meter {
	now := time.Now()
	return &meter{options: o, service: s, publisher: p, log: log, began: now, recent: []observation{{at: now}}}
}

// drain records that the fleet has stopped.
func (m *meter) drain() { m.phase, m.stopped = draining, time.Now() }

// end records that the run has ended.
func (m *meter) end() { m.phase = ended }

// read returns a snapshot of the counters. It returns an error if the metrics cannot be gathered.
func (m *meter) read(now time.Time) (snapshot, error) {
	o, err := m.observe(now)
	if err != nil {
		return snapshot{}, err
	}
	m.recent = append(m.recent, o)
	for now.Sub(m.recent[1].at) >= window {
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
		published:     o.published,
		ledger:        o.ledger,
		publishedRate: float64(o.published-before.published) / publishedUntil.Sub(before.at).Seconds(),
		storedRate:    float64(o.ledger.Inserted-before.ledger.Inserted) / now.Sub(before.at).Seconds(),
		write:         quantilesOf(o.write.Since(before.write)),
		delay:         quantilesOf(o.delay.Since(before.delay)),
		seen:          m.service.Devices.Len(),
		newest:        m.service.Devices.Newest(newestPositions),
	}
	if w := m.log.lastWarning(); now.Sub(w.at) < warningShown {
		s.warning = w
	}
	return s, nil
}

func (m *meter) observe(now time.Time) (observation, error) {
	// The ledger is read first: in the other order, more entries could seem read than published.
	o := observation{at: now, ledger: m.service.Ledger.Snapshot(), published: m.publisher.Published()}
	families, err := m.service.Registry.Gather()
	if err != nil {
		return observation{}, fmt.Errorf("gather metrics: %w", err)
	}
	for _, family := range families {
		var h *histogram.Histogram
		switch family.GetName() {
		case "processor_batch_write_seconds":
			h = &o.write
		case "processor_entry_delay_seconds":
			h = &o.delay
		default:
			continue
		}
		for _, metric := range family.GetMetric() { // one for each write path
			*h = h.Add(histogram.Read(metric.GetHistogram()))
		}
	}
	return o, nil
}

func quantilesOf(h histogram.Histogram) quantiles {
	return quantiles{p50: h.Quantile(0.5), p99: h.Quantile(0.99)}
}
