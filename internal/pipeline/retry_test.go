package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"processor/internal/observe"
	"processor/internal/stream"
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

func TestWorker_RepeatsUntilDone(t *testing.T) {
	refused := errors.New("NOPERM")
	cases := map[string]struct {
		lasts    time.Duration
		messages []string
		notReady bool // at the last failure
	}{
		"works at once": {0, []string{}, false},
		"a moment":      {time.Second, []string{"warn cannot acknowledge; trying again until it works", "info can acknowledge again"}, false},
		"a minute":      {time.Minute, []string{"warn cannot acknowledge; trying again until it works", "info can acknowledge again"}, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, log := newBare(t)
				w := worker{pipeline: p}
				began, failures, notReady := time.Now(), 0, false
				err := w.untilDone(t.Context(), &batch{consumer: stream.NewConsumer(nil, "s", "g", "c")}, "acknowledge", func() error {
					notReady = !p.Health.Readiness().Ready
					if time.Since(began) >= c.lasts {
						return nil
					}
					failures++
					return refused
				})
				require.NoError(t, err)
				require.Equal(t, c.messages, messages(t, log))
				require.Equal(t, c.notReady, notReady)
				require.True(t, p.Health.Readiness().Ready)
				require.Equal(t, float64(failures), testutil.ToFloat64(p.Metrics.AckErrors))
			})
		})
	}
}

func TestWorker_RepeatsUntilWorkIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := newBare(t)
		w := worker{pipeline: p}
		work, giveUp := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Minute, func() { giveUp(errShutdownTimeout) })
		err := w.untilDone(work, &batch{consumer: stream.NewConsumer(nil, "s", "g", "c")}, "acknowledge", func() error { return errors.New("NOPERM") })
		require.ErrorIs(t, err, errShutdownTimeout)
		require.Equal(t, "NOPERM", p.Health.Readiness().Checks["acknowledge s"].Error)
	})
}
