package demo

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/observe"
)

func TestHistory_AddsWorkersUp(t *testing.T) {
	reading := func(read, inserted, inFlight uint64) figures {
		return figures{ledger: observe.LedgerSnapshot{Read: read, Inserted: inserted, InFlight: inFlight}}
	}
	var h history
	require.Equal(t, reading(0, 0, 0), h.sum())
	require.Equal(t, reading(5, 3, 2), h.add(1, reading(5, 3, 2)))
	require.Equal(t, reading(9, 9, 0), h.add(1, reading(9, 9, 0)))
	require.Equal(t, reading(12, 11, 1), h.add(1, reading(12, 11, 1)))
	require.Equal(t, reading(12, 11, 0), h.add(2, reading(0, 0, 0)), "what was in flight is read again")
	require.Equal(t, reading(16, 15, 0), h.add(2, reading(4, 4, 0)))
	require.Equal(t, reading(18, 16, 1), h.add(4, reading(2, 1, 1)), "a worker of which nothing was read")
	require.Equal(t, reading(18, 16, 1), h.sum())
}

func TestScraper_ReadsWhatAWorkerSays(t *testing.T) {
	metrics := `# TYPE processor_entries_read_total counter
processor_entries_read_total{stream="telemetry:t"} 12
# TYPE processor_positions_total counter
processor_positions_total{outcome="inserted"} 5
processor_positions_total{outcome="merged"} 1
processor_positions_total{outcome="unchanged"} 2
processor_positions_total{outcome="dead_lettered"} 3
# TYPE processor_entries_in_flight gauge
processor_entries_in_flight 1
# TYPE processor_batch_write_seconds histogram
processor_batch_write_seconds_bucket{path="copy",le="1"} 2
processor_batch_write_seconds_bucket{path="copy",le="+Inf"} 2
processor_batch_write_seconds_count{path="copy"} 2
processor_batch_write_seconds_bucket{path="upsert",le="1"} 2
processor_batch_write_seconds_bucket{path="upsert",le="+Inf"} 2
processor_batch_write_seconds_count{path="upsert"} 2
`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/metrics":
			_, _ = io.WriteString(w, metrics)
		case "/readyz":
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"ready":false,"checks":{"schema":{"ok":true},"postgres":{"ok":false,"error":"refused"}}}`)
		}
	}))
	defer server.Close()
	s := newScraper(server.Listener.Addr().String())
	defer s.close()

	f, err := s.figures(t.Context())
	require.NoError(t, err)
	require.Equal(t, observe.LedgerSnapshot{Read: 12, Inserted: 5, Merged: 1, Unchanged: 2, DeadLettered: 3, InFlight: 1}, f.ledger)
	require.InDelta(t, 0.5, f.write.Quantile(0.5), 1e-9)
	var h history
	sum := h.add(1, f)
	require.Equal(t, sum.write, h.add(2, figures{}).write, "a worker that has not written yet")

	ready, err := s.readiness(t.Context())
	require.NoError(t, err)
	require.Equal(t, []checkState{{"postgres", observe.Condition{Error: "refused"}}, {"schema", observe.Condition{OK: true}}}, sortedChecks(ready))

	server.Close()
	_, err = s.figures(t.Context())
	require.ErrorContains(t, err, "read the worker's metrics: ")
}
