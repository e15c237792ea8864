package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Report is the result of a run.
type Report struct {
	Machine  Machine  `json:"machine"`
	Settings Settings `json:"settings"`
	// RawConnections is the number of connections with which raw COPY was fastest.
	RawConnections int                `json:"raw_connections"`
	Figures        map[figure]Measure `json:"figures"`
	Skipped        []Skipped          `json:"skipped,omitempty"`

	definitions []definition // of the table, in its order
}

// Settings are the fields of Options that affect the figures.
type Settings struct {
	Positions         int      `json:"positions"`
	Devices           int      `json:"devices"`
	Streams           int      `json:"streams"`
	Workers           int      `json:"workers"`
	BatchSize         int      `json:"batch_size"`
	Writers           int      `json:"writers"`
	Rounds            int      `json:"rounds"`
	Scenarios         []string `json:"scenarios"`
	Replay            bool     `json:"replay"`
	LatencyRate       int      `json:"latency_rate"` // the first of LatencyRates
	LatencyRates      []int    `json:"latency_rates"`
	LatencyForSeconds float64  `json:"latency_for_seconds"` // 0 if no delay was measured
	SingleEntries     int      `json:"single_entries"`
	LiveRate          int      `json:"live_rate"`
	StormDays         int      `json:"storm_days"`
	DumpPositions     int      `json:"dump_positions"`
}

// Measure is one figure over all rounds.
type Measure struct {
	Unit   string    `json:"unit"`
	Median float64   `json:"median"`
	Rounds []float64 `json:"rounds"`
	// Target and Met are absent if the figure has no target.
	Target *Target `json:"target,omitempty"`
	Met    *bool   `json:"met,omitempty"`
}

func newReport(machine Machine, opts Options, skipped []Skipped, rounds []measurements) *Report {
	r := &Report{
		Machine:        machine,
		Settings:       opts.settings(),
		RawConnections: compareWithRaw(rounds),
		Figures:        make(map[figure]Measure),
		Skipped:        skipped,
		definitions:    opts.definitions(),
	}
	for _, d := range r.definitions {
		if measure, ok := d.measure(rounds); ok {
			r.Figures[d.figure] = measure
		}
	}
	return r
}

func (o Options) settings() Settings {
	s := Settings{
		Positions: o.Positions, Devices: o.Devices, Streams: o.Streams, Workers: o.Workers,
		BatchSize: o.BatchSize, Writers: o.Writers, Rounds: o.Rounds,
		LatencyRates: o.LatencyRates, SingleEntries: o.SingleEntries,
		LiveRate: o.LiveRate, StormDays: o.StormDays, DumpPositions: o.DumpPositions,
	}
	for _, chosen := range o.chosen() {
		s.Scenarios = append(s.Scenarios, chosen.name)
	}
	s.Replay = slices.Contains(s.Scenarios, replayScenario().name)
	if len(o.LatencyRates) > 0 {
		s.LatencyRate = o.LatencyRates[0]
	}
	if o.measuresDelay() {
		s.LatencyForSeconds = o.LatencyFor.Seconds()
	}
	return s
}

// measuresDelay reports whether a chosen scenario reads the workers' histogram of delays.
func (o Options) measuresDelay() bool {
	return slices.Contains(o.Scenarios, trickleScenario().name) || slices.Contains(o.Scenarios, singleScenario().name)
}

func (d definition) measure(rounds []measurements) (Measure, bool) {
	values := valuesOf(d.figure, rounds)
	if len(values) == 0 {
		return Measure{}, false
	}
	m := Measure{Unit: d.unit, Median: median(values), Rounds: values}
	if d.target != (Target{}) {
		met := d.target.met(m.Median)
		m.Target, m.Met = &d.target, &met
	}
	return m, true
}

func valuesOf(f figure, rounds []measurements) []float64 {
	var values []float64
	for _, m := range rounds {
		if v, ok := m[f]; ok {
			values = append(values, v)
		}
	}
	return values
}

// WriteJSON writes the report as one JSON object.
func (r *Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(r)
}

// WriteTable writes the report as a text table.
func (r *Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	s, m := r.Settings, r.Machine
	fmt.Fprintf(&b, "%d positions of %d devices, streams: %d, workers: %d, batch size: %d, writers: %d\n", s.Positions, s.Devices, s.Streams, s.Workers, s.BatchSize, s.Writers)
	fmt.Fprintf(&b, "on %d cores (%s), %s, %s; Redis %s, PostgreSQL %s, %s\n", m.Cores, m.CPU, m.Platform, m.Go, m.Redis, m.PostgreSQL, m.table())
	fmt.Fprintf(&b, "fsync %s, synchronous_commit %s, shared_buffers %s\n\n", m.Fsync, m.SynchronousCommit, m.SharedBuffers)

	const row = "%-37s %12s %12s %12s  %-12s %s\n"
	fmt.Fprintf(&b, row, "", fmt.Sprintf("median of %d", s.Rounds), "minimum", "maximum", "", "target")
	for _, d := range r.definitions {
		measure, ok := r.Figures[d.figure]
		if !ok || d.hidden {
			continue
		}
		line := fmt.Sprintf(row, d.label, d.number(measure.Median), d.number(slices.Min(measure.Rounds)), d.number(slices.Max(measure.Rounds)), d.unit, measure.verdict())
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	if s.LatencyForSeconds > 0 {
		b.WriteString("\nXADD to commit comes from a histogram: resolution 1 ms below 6 ms, 2 to 5 ms below 30 ms, lower above.\n")
	}
	for _, skipped := range r.Skipped {
		fmt.Fprintf(&b, "\nnot measured: %s, which %s\n", skipped.Scenario, skipped.Reason)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (m Machine) table() string {
	if m.TimescaleDB == "" {
		return "plain table (no TimescaleDB)"
	}
	return "TimescaleDB " + m.TimescaleDB
}

func (d definition) number(v float64) string { return strconv.FormatFloat(v, 'f', d.decimals, 64) }

func (m Measure) verdict() string {
	if m.Target == nil {
		return ""
	}
	verdict := "MISSED"
	if *m.Met {
		verdict = "ok"
	}
	return m.Target.String() + " " + verdict
}
