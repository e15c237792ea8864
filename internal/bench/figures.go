package bench

import (
	"fmt"
	"math"
	"slices"
)

// figure is the name of a measured value, as in the JSON report.
type figure string

// Names of all figures, except those of raw COPY for each number of connections.
const (
	rawRate           figure = "raw_positions_per_second"
	rawPostgresCPU    figure = "raw_postgres_cpu_us_per_position"
	pipelineRate      figure = "pipeline_positions_per_second"
	ratio             figure = "pipeline_to_raw_ratio"
	drainSeconds      figure = "pipeline_drain_seconds"
	startSeconds      figure = "worker_start_seconds"
	workerCPU         figure = "worker_cpu_us_per_position"
	postgresCPU       figure = "postgres_cpu_us_per_position"
	redisCPU          figure = "redis_cpu_us_per_position"
	allocations       figure = "worker_allocations_per_position"
	allocatedBytes    figure = "worker_allocated_bytes_per_position"
	peakMemory        figure = "worker_peak_resident_mib"
	replayRate        figure = "replay_positions_per_second"
	replayWorkerCPU   figure = "replay_worker_cpu_us_per_position"
	replayPostgresCPU figure = "replay_postgres_cpu_us_per_position"

	latencyRate          figure = "latency_entries_per_second"
	latencyP50           figure = "latency_p50_ms"
	latencyP99           figure = "latency_p99_ms"
	latencyP999          figure = "latency_p999_ms"
	latencyCommits       figure = "latency_commits_per_second"
	latencyWorkerCPU     figure = "latency_worker_cpu_us_per_position"
	latencyPostgresCPU   figure = "latency_postgres_cpu_us_per_position"
	latencyPostgresRatio figure = "latency_to_drain_postgres_cpu_ratio"
	singleP50            figure = "single_p50_ms"
	singleP99            figure = "single_p99_ms"
)

func rawRateWith(connections int) figure {
	return figure(fmt.Sprintf("raw_%d_connections_positions_per_second", connections))
}

func rawPostgresCPUWith(connections int) figure {
	return figure(fmt.Sprintf("raw_%d_connections_postgres_cpu_us_per_position", connections))
}

// definition holds the label, unit, number of decimals and target of a figure.
type definition struct {
	figure   figure
	label    string
	unit     string
	decimals int
	target   Target
}

func definitions() []definition {
	d := []definition{}
	for _, n := range rawConnections() {
		d = append(d, definition{rawRateWith(n), fmt.Sprintf("raw COPY, connections: %d", n), "positions/s", 0, Target{}})
	}
	return append(d,
		definition{rawRate, "raw COPY, best of these", "positions/s", 0, Target{}},
		definition{rawPostgresCPU, "  PostgreSQL CPU", "us/position", 2, Target{}},
		definition{pipelineRate, "pipeline", "positions/s", 0, atLeast(100_000)},
		definition{ratio, "pipeline / raw COPY", "", 3, atLeast(0.6)},
		definition{workerCPU, "  worker CPU", "us/position", 2, atMost(4)},
		definition{postgresCPU, "  PostgreSQL CPU", "us/position", 2, Target{}},
		definition{redisCPU, "  Redis CPU", "us/position", 2, Target{}},
		definition{allocations, "  worker allocations", "/position", 2, atMost(6)},
		definition{allocatedBytes, "  worker allocated bytes", "/position", 0, Target{}},
		definition{peakMemory, "  worker peak resident memory", "MiB", 1, atMost(64)},
		definition{drainSeconds, "  drain, first read to last XACK", "s", 2, Target{}},
		definition{startSeconds, "  worker start to ready", "s", 2, Target{}},
		definition{replayRate, "replay, all rows exist", "positions/s", 0, Target{}},
		definition{replayWorkerCPU, "  worker CPU", "us/position", 2, Target{}},
		definition{replayPostgresCPU, "  PostgreSQL CPU", "us/position", 2, Target{}},
		definition{latencyRate, "steady rate", "positions/s", 0, Target{}},
		definition{latencyP50, "  XADD to commit, p50", "ms", 1, Target{}},
		definition{latencyP99, "  XADD to commit, p99", "ms", 1, atMost(20)},
		definition{latencyP999, "  XADD to commit, p99.9", "ms", 1, Target{}},
		definition{latencyCommits, "  database commits", "/s", 0, atMost(250)},
		definition{latencyWorkerCPU, "  worker CPU", "us/position", 2, Target{}},
		definition{latencyPostgresCPU, "  PostgreSQL CPU", "us/position", 2, Target{}},
		definition{latencyPostgresRatio, "  PostgreSQL CPU / that of the drain", "", 2, atMost(2)},
		definition{singleP50, "single entry when idle, p50", "ms", 1, Target{}},
		definition{singleP99, "single entry when idle, p99", "ms", 1, atMost(10)},
	)
}

// Target is the accepted range of a figure. The zero value accepts any.
type Target struct {
	AtLeast float64 `json:"at_least,omitempty"`
	AtMost  float64 `json:"at_most,omitempty"`
}

func atLeast(v float64) Target { return Target{AtLeast: v} }
func atMost(v float64) Target  { return Target{AtMost: v} }

func (t Target) met(v float64) bool {
	return (t.AtLeast == 0 || v >= t.AtLeast) && (t.AtMost == 0 || v <= t.AtMost)
}

// String returns the target as a comparison, such as "<= 4".
func (t Target) String() string {
	if t.AtMost != 0 {
		return fmt.Sprintf("<= %v", t.AtMost)
	}
	return fmt.Sprintf(">= %v", t.AtLeast)
}

// measurements are the figures of one round. A figure that was not measured is absent.
type measurements map[figure]float64

// set stores a figure, unless it is NaN or infinite: the CPU of a given server is not known.
func (m measurements) set(f figure, v float64) {
	if !math.IsNaN(v) && !math.IsInf(v, 0) {
		m[f] = v
	}
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
