package pipeline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"processor/internal/observe"
)

// newBare makes a pipeline of which only what observes is there, and returns its log too.
func newBare(t testing.TB) (*Pipeline, *bytes.Buffer) {
	t.Helper()
	ledger := observe.NewLedger()
	metrics, err := observe.NewMetrics(prometheus.NewRegistry(), observe.BuildInfo{}, ledger)
	require.NoError(t, err)
	var log bytes.Buffer
	logger := observe.NewLogger(&log, slog.LevelInfo)
	return &Pipeline{
		Options: Options{BatchSize: 100, BatchBytes: 1 << 20},
		Ledger:  ledger,
		Metrics: metrics,
		Health:  observe.NewHealth(nil, observe.HealthOptions{Logger: logger}),
		Logger:  logger,
	}, &log
}

// gauges gives p other metrics, and returns a function that reads the one series of a name.
func gauges(t testing.TB, p *Pipeline) func(name string) string {
	t.Helper()
	registry := prometheus.NewRegistry()
	metrics, err := observe.NewMetrics(registry, observe.BuildInfo{}, p.Ledger)
	require.NoError(t, err)
	p.Metrics = metrics
	return func(name string) string {
		families, err := registry.Gather()
		require.NoError(t, err)
		for _, f := range families {
			if f.GetName() == name {
				return fmt.Sprint(f.GetMetric()[0].GetGauge().GetValue())
			}
		}
		return "absent"
	}
}

// messages are the log's lines as "level message".
func messages(t testing.TB, log *bytes.Buffer) []string {
	t.Helper()
	found := []string{}
	for line := range strings.Lines(log.String()) {
		var l struct{ Level, Msg string }
		require.NoError(t, json.Unmarshal([]byte(line), &l))
		found = append(found, l.Level+" "+l.Msg)
	}
	return found
}
