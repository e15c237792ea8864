package observe

import (
	"bytes"
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
)

func TestIncident_ReportsOnce(t *testing.T) {
	cases := map[string]struct {
		lasts    time.Duration
		log      []string
		notReady bool // at the last failure
	}{
		"never":    {0, nil, false},
		"a moment": {time.Second, []string{"warn it fails", "info it works again"}, false},
		"a minute": {time.Minute, []string{"warn it fails", "info it works again"}, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				h := NewHealth(nil, HealthOptions{})
				errs := prometheus.NewCounter(prometheus.CounterOpts{Name: "errors"})
				i := h.NewIncident(NewLogger(&log, slog.LevelInfo), IncidentOptions{
					Name: Acknowledge.OfStream("s"), Grace: Grace, Began: "it fails", Ended: "it works again", Errors: errs,
				})
				began, failures, notReady := time.Now(), 0, false
				for time.Since(began) < c.lasts {
					i.Fail(errors.New("NOPERM"), "entries", 1)
					failures++
					require.True(t, i.Failing())
					notReady = !h.Readiness().Ready
					if notReady {
						require.Equal(t, "NOPERM", h.Readiness().Checks["acknowledge s"].Error)
					}
					<-time.After(time.Second / 2)
				}
				i.Recover()
				i.Recover()
				require.False(t, i.Failing())
				require.Equal(t, c.notReady, notReady)
				require.True(t, h.Readiness().Ready)
				require.Equal(t, float64(failures), testutil.ToFloat64(errs))
				require.Equal(t, c.log, levels(t, &log))
			})
		})
	}
}

// Each kind is logged once until it is over, and an urgent one has no grace period.
func TestIncident_HasKinds(t *testing.T) {
	var log bytes.Buffer
	h := NewHealth(nil, HealthOptions{})
	i := h.NewIncident(NewLogger(&log, slog.LevelInfo), IncidentOptions{Name: Writes, Grace: Grace, Began: "it fails", Ended: "it works again"})
	for range 2 {
		i.FailAs("unavailable", false, errors.New("refused"))
		require.True(t, h.Readiness().Ready)
	}
	i.FailAs("schema", true, errors.New("no table"))
	require.Equal(t, "schema: no table", h.Readiness().Checks["writes"].Error)
	i.FailAs("unavailable", false, errors.New("refused"))
	i.Recover()
	require.True(t, h.Readiness().Ready)
	i.FailAs("schema", true, errors.New("no table"))
	require.False(t, h.Readiness().Ready)
	i.Recover()
	require.Equal(t, []string{"warn it fails", "warn it fails", "info it works again", "warn it fails", "info it works again"}, levels(t, &log))
}

// What is harmless is logged, and the service stays ready.
func TestIncident_MayBeHarmless(t *testing.T) {
	var log bytes.Buffer
	h := NewHealth(nil, HealthOptions{})
	i := h.NewIncident(NewLogger(&log, slog.LevelInfo), IncidentOptions{Name: Listening, Harmless: true, Began: "it fails", Ended: "it works again"})
	i.Fail(errors.New("slow"))
	require.Empty(t, h.Readiness().Checks)
	i.Recover()
	require.Equal(t, []string{"warn it fails", "info it works again"}, levels(t, &log))
}

func levels(t *testing.T, log *bytes.Buffer) (found []string) {
	t.Helper()
	for line := range strings.Lines(log.String()) {
		var l struct{ Level, Msg string }
		require.NoError(t, json.Unmarshal([]byte(line), &l))
		found = append(found, l.Level+" "+l.Msg)
	}
	return found
}

// A failure with another hint is logged beside the first one, and /readyz has the hint of the last.
func TestIncident_LogsEachHintOnce(t *testing.T) {
	var log bytes.Buffer
	h := NewHealth(nil, HealthOptions{})
	i := h.NewIncident(NewLogger(&log, slog.LevelInfo), IncidentOptions{
		Name: Reading.OfStream("s"), Began: "it fails", Ended: "it works again",
		Hint: func(err error) string {
			if err.Error() == "EOF" {
				return ""
			}
			return "restart " + err.Error()
		},
	})
	for _, text := range []string{"EOF", "one", "one", "two", "EOF", "one"} {
		i.Fail(errors.New(text))
	}
	require.Equal(t, "one. Fix: restart one", h.Readiness().Checks["stream s"].Error)
	i.Recover()
	i.Fail(errors.New("one"))
	var lines []string
	for line := range strings.Lines(log.String()) {
		var fields map[string]string
		require.NoError(t, json.Unmarshal([]byte(line), &fields))
		lines = append(lines, strings.TrimSpace(fields["msg"]+" "+fields["error"]+" "+fields["hint"]))
	}
	require.Equal(t, []string{"it fails EOF", "it fails one restart one", "it fails two restart two", "it works again", "it fails one restart one"}, lines)
}
