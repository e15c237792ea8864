package bench

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/fleet"
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
	r := newReport(Machine{}, Options{Rounds: 3, Scenarios: Usual()}, nil, rounds)

	missed := false
	require.Equal(t, 2, r.RawConnections, "by median")
	require.Equal(t, Measure{Unit: "positions/s", Median: 110_000, Rounds: []float64{100_000, 120_000, 110_000}}, r.Figures[rawRate])
	require.Equal(t, Measure{Median: 0.7, Rounds: []float64{0.8, 0.5, 0.7}, Target: &Target{AtLeast: 0.72}, Met: &missed}, r.Figures[ratio])
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
pipeline / raw COPY                          0.700        0.500        0.800               >= 0.72 MISSED
  worker peak resident memory                 70.0         60.0         80.0  MiB          <= 64 MISSED
`)
}

func TestAcknowledgedUpTo(t *testing.T) {
	group := func(delivered string) []redis.XInfoGroup {
		return []redis.XInfoGroup{{Name: "other", LastDeliveredID: "99-0"}, {Name: groupName, LastDeliveredID: delivered}}
	}
	tests := map[string]struct {
		groups  []redis.XInfoGroup
		summary redis.XPending
		want    bool
	}{
		"nothing read":             {group("0-0"), redis.XPending{}, false},
		"read up to before it":     {group("9-9"), redis.XPending{}, false},
		"read, nothing pending":    {group("10-0"), redis.XPending{}, true},
		"it is pending":            {group("10-0"), redis.XPending{Count: 1, Lower: "10-0"}, false},
		"an older one is pending":  {group("11-0"), redis.XPending{Count: 2, Lower: "9-1"}, false},
		"younger ones are pending": {group("11-0"), redis.XPending{Count: 1, Lower: "10-1"}, true},
		"no group":                 {nil, redis.XPending{}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := acknowledgedUpTo("10-0", test.groups, &test.summary)
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}

func TestDisturbance_IsOneDeviceInThePast(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 500, time.UTC)
	tests := map[string]struct {
		disturbance disturbance
		first, last time.Time
	}{
		"storm": {disturbance{3600, 24 * time.Hour}, time.Date(2017, 1, 14, 0, 0, 0, 0, time.UTC), time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)},
		"dump":  {disturbance{5_000, time.Second}, now.Truncate(time.Second).Add(-5_000 * time.Second), now.Truncate(time.Second).Add(-time.Second)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			old := test.disturbance.fleet(now)
			var records []fleet.Record
			for range test.disturbance.positions {
				records = append(records, renamed(old.Next(time.Time{}), disturber))
			}
			require.Equal(t, test.first, records[0].Timestamp)
			require.Equal(t, test.last, records[len(records)-1].Timestamp)
			for _, record := range records {
				require.Equal(t, disturber, record.DeviceID)
				require.Contains(t, string(record.Payload), `"device_id":"processor-bench"`)
			}
		})
	}
}

func TestTrickleFigures_HaveTargetsByLoad(t *testing.T) {
	target := func(o Options, rate int, f figure) Target {
		for _, d := range trickleFigures(o, rate) {
			if d.figure == f {
				return d.target
			}
		}
		return Target{}
	}
	alone, shared := Options{Workers: 1, Streams: 1}, Options{Workers: 1, Streams: 8}
	require.Equal(t, atMost(22), target(alone, 5000, latencyPostgresCPU))
	require.Equal(t, atMost(14), target(alone, 5000, latencyWorkerCPU))
	require.Equal(t, atMost(40), target(shared, 5000, latencyPostgresCPU))
	require.Equal(t, Target{}, target(shared, 5000, latencyWorkerCPU))
	require.Equal(t, Target{}, target(alone, 200, latencyPostgresCPU))
	require.Equal(t, atMost(250), target(shared, 200, latencyCommits))
}
