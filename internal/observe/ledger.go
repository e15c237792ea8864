package observe

import (
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Outcome is how a position ended. Each entry that was read ends as exactly one of them.
type Outcome int

// The outcomes.
const (
	// Inserted is a new row.
	Inserted Outcome = iota
	// Merged is a row that was there and gained attributes.
	Merged
	// Unchanged is a record that was there already, as a row with nothing to gain or as a dead letter:
	// mostly a redelivery. An entry that another worker took over counts here, too.
	Unchanged
	// DeadLettered is an entry that cannot be a row and was copied to the dead-letter stream, by this worker.
	DeadLettered

	outcomes = iota
)

// String gives the value of the label `outcome`.
func (o Outcome) String() string {
	switch o {
	case Inserted:
		return "inserted"
	case Merged:
		return "merged"
	case Unchanged:
		return "unchanged"
	case DeadLettered:
		return "dead_lettered"
	}
	return "Outcome(" + strconv.Itoa(int(o)) + ")"
}

// Ledger counts what became of every entry read. At every moment
//
//	read = inserted + merged + unchanged + dead_lettered + in flight
//
// It is a prometheus.Collector that emits its series from one snapshot, so the sum also holds in
// every scrape, which separate counters could not promise. It is safe for concurrent use.
type Ledger struct {
	mu       sync.Mutex
	read     map[string]uint64 // by stream
	settled  [outcomes]uint64
	inFlight uint64

	readDesc, settledDesc, inFlightDesc *prometheus.Desc
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{
		read: make(map[string]uint64),
		readDesc: prometheus.NewDesc("processor_entries_read_total",
			"Stream entries taken into the pipeline, redeliveries included. Worry when it stands still while stream_lag grows.",
			[]string{"stream"}, nil),
		settledDesc: prometheus.NewDesc("processor_positions_total",
			"Positions by how they ended: inserted, merged, unchanged, dead_lettered. Worry when dead_lettered grows, or unchanged without a replay or restart.",
			[]string{"outcome"}, nil),
		inFlightDesc: prometheus.NewDesc("processor_entries_in_flight",
			"Stream entries read and not yet ended. Worry when it stays above 0 while positions_total stands still.",
			nil, nil),
	}
}

// Read counts n entries of stream as read and in flight. With n = 0 it only makes the stream's series
// exist, which a pipeline does once at its start. A negative n changes nothing.
//
// A pending entry whose payload was trimmed is not read: it cannot end as any outcome.
func (l *Ledger) Read(stream string, n int) {
	if n < 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.read[stream] += uint64(n)
	l.inFlight += uint64(n)
}

// Settle moves n entries from in flight to outcome o. An n below 1 changes nothing.
// To settle more than is in flight is a defect of the caller; LedgerSnapshot.Balanced is false from then on.
func (l *Ledger) Settle(o Outcome, n int) {
	if n < 1 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settled[o] += uint64(n)
	l.inFlight -= min(l.inFlight, uint64(n))
}

// Snapshot returns the counts as they stood together at one moment.
func (l *Ledger) Snapshot() LedgerSnapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.snapshot()
}

func (l *Ledger) snapshot() LedgerSnapshot {
	s := LedgerSnapshot{
		Inserted:     l.settled[Inserted],
		Merged:       l.settled[Merged],
		Unchanged:    l.settled[Unchanged],
		DeadLettered: l.settled[DeadLettered],
		InFlight:     l.inFlight,
	}
	for _, n := range l.read {
		s.Read += n
	}
	return s
}

// Describe implements prometheus.Collector.
func (l *Ledger) Describe(ch chan<- *prometheus.Desc) {
	ch <- l.readDesc
	ch <- l.settledDesc
	ch <- l.inFlightDesc
}

// Collect implements prometheus.Collector.
func (l *Ledger) Collect(ch chan<- prometheus.Metric) {
	l.mu.Lock()
	read, settled, inFlight := maps.Clone(l.read), l.settled, l.inFlight
	l.mu.Unlock()

	for stream, n := range read {
		ch <- prometheus.MustNewConstMetric(l.readDesc, prometheus.CounterValue, float64(n), stream)
	}
	for o, n := range settled {
		ch <- prometheus.MustNewConstMetric(l.settledDesc, prometheus.CounterValue, float64(n), Outcome(o).String())
	}
	ch <- prometheus.MustNewConstMetric(l.inFlightDesc, prometheus.GaugeValue, float64(inFlight))
}

// LedgerSnapshot is a Ledger at one moment. All counts are entries since the process began.
type LedgerSnapshot struct {
	Read, Inserted, Merged, Unchanged, DeadLettered, InFlight uint64
}

// Balanced reports whether every entry read is accounted for.
func (s LedgerSnapshot) Balanced() bool {
	return s.Read == s.Inserted+s.Merged+s.Unchanged+s.DeadLettered+s.InFlight
}

// String gives the ledger as an equation, with != where it does not balance.
func (s LedgerSnapshot) String() string {
	sign := "="
	if !s.Balanced() {
		sign = "!="
	}
	return fmt.Sprintf("read %d %s inserted %d + merged %d + unchanged %d + dead_lettered %d + in flight %d",
		s.Read, sign, s.Inserted, s.Merged, s.Unchanged, s.DeadLettered, s.InFlight)
}

// LogValue implements slog.LogValuer: the counts as a group.
func (s LedgerSnapshot) LogValue() slog.Value {
	return slog.GroupValue(
		slog.Uint64("read", s.Read),
		slog.Uint64("inserted", s.Inserted),
		slog.Uint64("merged", s.Merged),
		slog.Uint64("unchanged", s.Unchanged),
		slog.Uint64("dead_lettered", s.DeadLettered),
		slog.Uint64("in_flight", s.InFlight),
		slog.Bool("balanced", s.Balanced()),
	)
}
