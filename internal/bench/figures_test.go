package bench

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMedian(t *testing.T) {
	require.Equal(t, 2.0, median([]float64{3, 1, 2}))
	require.Equal(t, 2.5, median([]float64{4, 1, 2, 3}))
}

func TestMeasurements_LeaveOutWhatIsNoNumber(t *testing.T) {
	m := make(measurements)
	m.set(postgresCPU, math.NaN())
	m.set(latencyPostgresRatio, math.Inf(1))
	m.set(workerCPU, 3.5)
	require.Equal(t, measurements{workerCPU: 3.5}, m)
}

func TestFleetStart_KeepsFixesInThePast(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		opts Options
		want time.Time
	}{
		"one day":  {Options{Positions: 300_000, Devices: 10_000}, time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)},
		"too many": {Options{Positions: 172_799, Devices: 1}, time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, fleetStart(test.opts, now))
		})
	}
}

func TestReport_ComparesWithTheBestRawCopy(t *testing.T) {
	rounds := []measurements{
		{rawRateWith(1): 60_000, rawRateWith(2): 100_000, rawRateWith(4): 150_000, pipelineRate: 80_000, peakMemory: 70},
		{rawRateWith(1): 50_000, rawRateWith(2): 120_000, rawRateWith(4): 90_000, pipelineRate: 60_000, peakMemory: 60},
		{rawRateWith(1): 50_000, rawRateWith(2): 110_000, rawRateWith(4): 100_000, pipelineRate: 77_000, peakMemory: 80},
	}
	r := newReport(Machine{}, Options{Rounds: 3}, rounds)

	met, missed := true, false
	require.Equal(t, 2, r.RawConnections, "by median")
	require.Equal(t, Measure{Unit: "positions/s", Median: 110_000, Rounds: []float64{100_000, 120_000, 110_000}}, r.Figures[rawRate])
	require.Equal(t, Measure{Median: 0.7, Rounds: []float64{0.8, 0.5, 0.7}, Target: &Target{AtLeast: 0.6}, Met: &met}, r.Figures[ratio])
	require.Equal(t, Measure{Unit: "MiB", Median: 70, Rounds: []float64{70, 60, 80}, Target: &Target{AtMost: 64}, Met: &missed}, r.Figures[peakMemory])

	var table strings.Builder
	require.NoError(t, r.WriteTable(&table))
	require.Contains(t, table.String(), `
                                       median of 3      minimum      maximum               target
raw COPY, connections: 1                     50000        50000        60000  positions/s
raw COPY, connections: 2                    110000       100000       120000  positions/s
raw COPY, connections: 4                    100000        90000       150000  positions/s
raw COPY, best of these                     110000       100000       120000  positions/s
pipeline                                     77000        60000        80000  positions/s  >= 100000 MISSED
pipeline / raw COPY                          0.700        0.500        0.800               >= 0.6 ok
  worker peak resident memory                 70.0         60.0         80.0  MiB          <= 64 MISSED
`)
}
