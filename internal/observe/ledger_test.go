package observe

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func TestOutcome_String(t *testing.T) {
	require.Equal(t, "inserted merged unchanged dead_lettered Outcome(9)", strings.Join([]string{
		Inserted.String(), Merged.String(), Unchanged.String(), DeadLettered.String(), Outcome(9).String(),
	}, " "))
}

func TestLedger_Snapshot(t *testing.T) {
	steps := []struct {
		name string
		do   func(*Ledger)
		want LedgerSnapshot
	}{
		{"empty", func(*Ledger) {}, LedgerSnapshot{}},
		{"stream announced", func(l *Ledger) { l.Read("a", 0) }, LedgerSnapshot{}},
		{"two streams read", func(l *Ledger) { l.Read("a", 7); l.Read("b", 5) }, LedgerSnapshot{Read: 12, InFlight: 12}},
		{"some settled", func(l *Ledger) { l.Settle(Inserted, 5); l.Settle(Merged, 1) },
			LedgerSnapshot{Read: 12, Inserted: 5, Merged: 1, InFlight: 6}},
		{"nothing and less than nothing", func(l *Ledger) { l.Settle(Inserted, 0); l.Settle(Merged, -1); l.Read("a", -1) },
			LedgerSnapshot{Read: 12, Inserted: 5, Merged: 1, InFlight: 6}},
		{"all settled", func(l *Ledger) { l.Settle(Unchanged, 4); l.Settle(DeadLettered, 2) },
			LedgerSnapshot{Read: 12, Inserted: 5, Merged: 1, Unchanged: 4, DeadLettered: 2}},
	}
	ledger := NewLedger()
	for _, s := range steps {
		s.do(ledger)
		got := ledger.Snapshot()
		require.Equal(t, s.want, got, s.name)
		require.True(t, got.Balanced(), s.name)
	}
}

func TestLedger_SettlingMoreThanWasReadShows(t *testing.T) {
	ledger := NewLedger()
	ledger.Read("a", 1)
	ledger.Settle(Inserted, 2)

	got := ledger.Snapshot()
	require.Equal(t, LedgerSnapshot{Read: 1, Inserted: 2}, got)
	require.False(t, got.Balanced())
	require.Equal(t, "read 1 != inserted 2 + merged 0 + unchanged 0 + dead_lettered 0 + in flight 0", got.String())
}

func TestLedgerSnapshot_LogValue(t *testing.T) {
	var out bytes.Buffer
	snapshot := LedgerSnapshot{Read: 15, Inserted: 1, Merged: 2, Unchanged: 3, DeadLettered: 4, InFlight: 5}
	NewLogger(&out, slog.LevelInfo).Info("stopped", "ledger", snapshot)
	require.Contains(t, out.String(),
		`"ledger":{"read":15,"inserted":1,"merged":2,"unchanged":3,"dead_lettered":4,"in_flight":5,"balanced":true}`)
	require.Equal(t, "read 15 = inserted 1 + merged 2 + unchanged 3 + dead_lettered 4 + in flight 5", snapshot.String())
}

func TestLedger_Collect(t *testing.T) {
	ledger := NewLedger()
	ledger.Read("telemetry:t", 0)
	require.NoError(t, testutil.CollectAndCompare(ledger, strings.NewReader(`
		# HELP processor_positions_total Positions by how they ended: inserted, merged, unchanged, dead_lettered. Worry when dead_lettered grows, or unchanged without a replay or restart.
		# TYPE processor_positions_total counter
		processor_positions_total{outcome="dead_lettered"} 0
		processor_positions_total{outcome="inserted"} 0
		processor_positions_total{outcome="merged"} 0
		processor_positions_total{outcome="unchanged"} 0
		# HELP processor_entries_read_total Stream entries taken into the pipeline, redeliveries included. Worry when it stands still while stream_lag grows.
		# TYPE processor_entries_read_total counter
		processor_entries_read_total{stream="telemetry:t"} 0
		# HELP processor_entries_in_flight Stream entries read and not yet ended. Worry when it stays above 0 while positions_total stands still.
		# TYPE processor_entries_in_flight gauge
		processor_entries_in_flight 0
	`)))
}

func TestLedger_BalancesAtEveryScrape(t *testing.T) {
	ledger := NewLedger()
	reg := prometheus.NewPedanticRegistry()
	require.NoError(t, reg.Register(ledger))

	stop := make(chan struct{})
	var writers sync.WaitGroup
	for _, stream := range []string{"a", "b"} {
		writers.Go(func() {
			for o := Inserted; ; o = (o + 1) % outcomes {
				select {
				case <-stop:
					return
				default:
				}
				ledger.Read(stream, 3)
				ledger.Settle(o, 2)
				ledger.Settle(Unchanged, 1)
			}
		})
	}
	for range 200 {
		sums := scrape(t, reg)
		require.Equal(t, sums["processor_entries_read_total"],
			sums["processor_positions_total"]+sums["processor_entries_in_flight"])
	}
	close(stop)
	writers.Wait()

	got := ledger.Snapshot()
	require.NotZero(t, got.Read)
	require.Zero(t, got.InFlight)
	require.True(t, got.Balanced())
}

// scrape returns the sum over all series of each counter and gauge.
func scrape(t *testing.T, reg prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	sums := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			sums[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sums
}
