package observe

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func newMetrics(t *testing.T) (*prometheus.Registry, *Metrics) {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	ledger := NewLedger()
	ledger.Read("telemetry:t", 0)
	m, err := NewMetrics(reg, BuildInfo{Version: "v1.2.3", Commit: "abc", GoVersion: "go1.26"}, ledger)
	require.NoError(t, err)
	return reg, m
}

func TestMetrics_NamesAndLint(t *testing.T) {
	reg, m := newMetrics(t)
	require.NoError(t, m.ObserveDevices(func() int { return 2 }, func() uint64 { return 3 }))
	m.WriteErrors.WithLabelValues("connection")
	m.BatchWrite.WithLabelValues("copy")
	m.ListenerDropped.WithLabelValues("domain")
	m.ListenerPanics.WithLabelValues("domain")
	m.DeadLetters.WithLabelValues("not_json")
	m.BatchesHeld.WithLabelValues("unavailable")
	m.SetStream("telemetry:t", StreamStats{
		Lag: new(int64(0)), Added: new(int64(0)), OldestUnread: new(time.Duration), CatchUp: new(time.Duration), TrimReaches: new(time.Duration),
	})
	m.SetCommitted("telemetry:t", time.Now())

	families, err := reg.Gather()
	require.NoError(t, err)
	var names []string
	runtimes := map[string]bool{}
	for _, f := range families {
		require.NotEmpty(t, f.GetHelp(), f.GetName())
		if name, ours := strings.CutPrefix(f.GetName(), "processor_"); ours {
			names = append(names, name)
			require.Contains(t, strings.ToLower(f.GetHelp()), "worry", name)
			continue
		}
		runtimes[f.GetName()] = true
	}
	require.Equal(t, []string{
		"ack_errors_total", "batch_positions", "batch_write_seconds", "batches_held", "build_info", "claimed_total",
		"commit_unknown_total", "dead_letter_length", "dead_letters_total", "device_evictions_total", "devices",
		"entries_in_flight", "entries_read_total", "entry_delay_seconds", "group_recreated_total",
		"listener_dropped_total", "listener_panics_total", "lost_pending_total",
		"position_delay_seconds", "positions_total", "stream_catch_up_seconds", "stream_entries_added", "stream_lag",
		"stream_last_commit_timestamp_seconds", "stream_length", "stream_oldest_pending_seconds", "stream_oldest_unread_seconds",
		"stream_pending", "stream_trim_reaches_unread_seconds", "trimmed_unread_total", "write_errors_total",
	}, names)
	require.True(t, runtimes["go_goroutines"], "Go collector")
	require.True(t, runtimes["process_resident_memory_bytes"], "process collector")

	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestNewMetrics_TwiceOnOneRegistryIsAnError(t *testing.T) {
	reg, m := newMetrics(t)
	_, err := NewMetrics(reg, BuildInfo{}, NewLedger())
	require.ErrorAs(t, err, &prometheus.AlreadyRegisteredError{})

	devices := func() error { return m.ObserveDevices(func() int { return 0 }, func() uint64 { return 0 }) }
	require.NoError(t, devices())
	require.ErrorAs(t, devices(), &prometheus.AlreadyRegisteredError{})
}

func TestMetrics_ClosedLabelsAreThereFromTheStart(t *testing.T) {
	reg, _ := newMetrics(t)
	n, err := testutil.GatherAndCount(reg, "processor_positions_total")
	require.NoError(t, err)
	require.Equal(t, 4, n, "outcomes")
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
		# HELP processor_build_info Always 1; the labels say what the binary was built from. Worry when replicas differ outside a rollout.
		# TYPE processor_build_info gauge
		processor_build_info{goversion="go1.26",revision="abc",version="v1.2.3"} 1
	`), "processor_build_info"))
}

func TestMetrics_Devices(t *testing.T) {
	reg, m := newMetrics(t)
	length, evictions := 2, uint64(3)
	require.NoError(t, m.ObserveDevices(func() int { return length }, func() uint64 { return evictions }))
	require.Equal(t, []float64{2, 3}, []float64{scrape(t, reg)["processor_devices"], scrape(t, reg)["processor_device_evictions_total"]})
	length, evictions = 4, 5
	require.Equal(t, []float64{4, 5}, []float64{scrape(t, reg)["processor_devices"], scrape(t, reg)["processor_device_evictions_total"]})
}

func TestMetrics_SetStream(t *testing.T) {
	known := StreamStats{Length: 100, Added: new(int64(300)), Lag: new(int64(7)), Pending: 5, OldestPending: 1500 * time.Millisecond, DeadLetters: 2}
	known.OldestUnread, known.CatchUp, known.TrimReaches = new(2*time.Second), new(3*time.Second), new(4*time.Second)
	unknown := known
	unknown.Lag, unknown.OldestUnread, unknown.CatchUp, unknown.TrimReaches = nil, nil, nil, nil

	reg, m := newMetrics(t)
	lags := func() int { return testutil.CollectAndCount(m.streamLag) }
	require.Zero(t, lags())

	m.SetStream("a", known)
	require.Equal(t, 1, lags())
	for name, want := range map[string]float64{
		"processor_stream_length": 100, "processor_stream_entries_added": 300, "processor_stream_lag": 7, "processor_stream_pending": 5,
		"processor_stream_oldest_pending_seconds": 1.5, "processor_dead_letter_length": 2,
		"processor_stream_oldest_unread_seconds": 2, "processor_stream_catch_up_seconds": 3, "processor_stream_trim_reaches_unread_seconds": 4,
	} {
		require.InDelta(t, want, scrape(t, reg)[name], 0, name)
	}
	for _, c := range []*prometheus.CounterVec{m.GroupRecreated, m.TrimmedUnread, m.LostPending} {
		require.Equal(t, 1, testutil.CollectAndCount(c))
	}

	m.SetStream("a", unknown)
	require.Zero(t, lags(), "a lag that Redis cannot tell has no series")
	for _, gauge := range []*prometheus.GaugeVec{m.streamOldestUnread, m.streamCatchUp, m.streamTrimReaches} {
		require.Zero(t, testutil.CollectAndCount(gauge))
	}
	m.SetStream("b", unknown)
	require.Zero(t, lags())
	require.InDelta(t, 200, scrape(t, reg)["processor_stream_length"], 0)

	m.SetStream("a", known)
	require.Equal(t, 1, lags(), "and is back when it is known")
}

func TestMetrics_Delays(t *testing.T) {
	reg, m := newMetrics(t)
	m.ObserveEntryDelay(-time.Second)
	m.ObserveEntryDelay(12 * time.Millisecond)
	m.ObservePositionDelay(-time.Hour)
	m.ObservePositionDelay(20 * time.Hour)

	families, err := reg.Gather()
	require.NoError(t, err)
	type sums struct {
		count uint64
		sum   float64
	}
	got := map[string]sums{}
	for _, f := range families {
		if strings.HasSuffix(f.GetName(), "_delay_seconds") {
			h := f.GetMetric()[0].GetHistogram()
			got[f.GetName()] = sums{h.GetSampleCount(), h.GetSampleSum()}
			last := h.GetBucket()[len(h.GetBucket())-1]
			require.Equal(t, uint64(2), last.GetCumulativeCount(), f.GetName())
		}
	}
	require.Equal(t, map[string]sums{
		"processor_entry_delay_seconds":    {2, 0.012},
		"processor_position_delay_seconds": {2, 72000},
	}, got)
}

func BenchmarkMetrics_ObserveDelays(b *testing.B) {
	m, err := NewMetrics(prometheus.NewRegistry(), BuildInfo{}, NewLedger())
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		m.ObserveEntryDelay(12 * time.Millisecond)
		m.ObservePositionDelay(3 * time.Second)
	}
}
