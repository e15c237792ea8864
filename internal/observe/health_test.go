package observe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// dependency is one whose answer a test chooses.
type dependency struct {
	mu    sync.Mutex
	err   error
	calls int
}

func (d *dependency) set(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

func (d *dependency) Check(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls++
	return d.err
}

// run runs h until the test or stop ends it.
func run(t *testing.T, h *Health) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

// pass lets d go by on the bubble's clock.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// logged returns the lines of out without their time.
func logged(t *testing.T, out *bytes.Buffer) []map[string]any {
	t.Helper()
	lines := []map[string]any{}
	for line := range strings.Lines(out.String()) {
		var m map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &m))
		delete(m, "time")
		lines = append(lines, m)
	}
	return lines
}

func TestHealth_OutageAndReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now().UTC()
		at := func(d time.Duration) time.Time { return start.Add(d) }
		var out bytes.Buffer
		redis, postgres := &dependency{}, &dependency{}
		h := NewHealth(
			[]Probe{{Name: "redis", Check: redis.Check}, {Name: "postgres", Check: postgres.Check}},
			HealthOptions{Logger: NewLogger(&out, slog.LevelInfo)},
		)

		pass(time.Second)
		require.Equal(t, Readiness{Checks: map[string]Condition{
			"redis":    {Since: start, Error: "not checked yet"},
			"postgres": {Since: start, Error: "not checked yet"},
		}}, h.Readiness(), "before the first round")

		run(t, h)
		synctest.Wait()
		require.Equal(t, Readiness{Ready: true, Checks: map[string]Condition{
			"redis":    {OK: true, Since: at(time.Second)},
			"postgres": {OK: true, Since: at(time.Second)},
		}}, h.Readiness(), "the first round is run at once")
		require.Empty(t, logged(t, &out))

		postgres.set(errors.New("dial postgres://app:s3cret@db: connection refused"))
		pass(2 * time.Second)
		down := Readiness{Checks: map[string]Condition{
			"redis":    {OK: true, Since: at(time.Second)},
			"postgres": {Since: at(3 * time.Second), Error: "dial postgres://app:xxxxx@db: connection refused"},
		}}
		require.Equal(t, down, h.Readiness())

		postgres.set(errors.New("the database system is starting up"))
		pass(4 * time.Second)
		down.Checks["postgres"] = Condition{Since: at(3 * time.Second), Error: "the database system is starting up"}
		require.Equal(t, down, h.Readiness(), "since the first failure, with the last error")

		postgres.set(nil)
		pass(2 * time.Second)
		require.Equal(t, Readiness{Ready: true, Checks: map[string]Condition{
			"redis":    {OK: true, Since: at(time.Second)},
			"postgres": {OK: true, Since: at(9 * time.Second)},
		}}, h.Readiness())
		require.Equal(t, []map[string]any{
			{"level": "warn", "msg": "check is failing", "check": "postgres", "error": "dial postgres://app:xxxxx@db: connection refused"},
			{"level": "info", "msg": "check is ok again", "check": "postgres", "failing_seconds": 6.0},
		}, logged(t, &out), "each transition once")
		require.Equal(t, redis.calls, postgres.calls)
		require.Equal(t, 5, redis.calls)
	})
}

func TestHealth_ProbeWithoutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan error)
		other := &dependency{}
		h := NewHealth([]Probe{
			{Name: "deaf", Check: func(context.Context) error { return <-answer }},
			{Name: "polite", Check: func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }},
			{Name: "other", Check: other.Check},
		}, HealthOptions{Interval: time.Second, Timeout: 3 * time.Second})
		stop := run(t, h)

		pass(2 * time.Second)
		require.False(t, h.Readiness().Ready)
		require.Equal(t, "not checked yet", h.Readiness().Checks["deaf"].Error)

		pass(8 * time.Second)
		checks := h.Readiness().Checks
		require.Equal(t, "no answer within 3s", checks["deaf"].Error)
		require.Equal(t, "no answer within 3s", checks["polite"].Error)
		require.True(t, checks["other"].OK, "one without an answer holds up no other")
		require.Equal(t, 11, other.calls)

		answer <- nil
		synctest.Wait()
		require.False(t, h.Readiness().Checks["deaf"].OK, "an answer too late is none")
		pass(time.Second)
		answer <- nil
		synctest.Wait()
		require.True(t, h.Readiness().Checks["deaf"].OK)

		pass(time.Second)
		close(answer)
		stop()
	})
}

// A check of what a server contains says nothing while the server does not answer, and has no series before it has a result.
func TestHealth_CheckThatNeedsAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var silent atomic.Bool
		silent.Store(true)
		h := NewHealth([]Probe{{Name: "schema", NeedsAnswer: true, Check: func(ctx context.Context) error {
			if silent.Load() {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}}}, HealthOptions{Interval: time.Second, Timeout: time.Second})
		stop := run(t, h)
		pass(5 * time.Second)
		require.False(t, h.Readiness().Ready)
		require.Equal(t, "not checked yet", h.Readiness().Checks["schema"].Error)
		require.Zero(t, testutil.CollectAndCount(h))

		silent.Store(false)
		pass(5 * time.Second)
		require.True(t, h.Readiness().Ready)
		require.Equal(t, 1.0, testutil.ToFloat64(h))

		silent.Store(true)
		pass(5 * time.Second)
		require.True(t, h.Readiness().Ready, "the result before stands")
		require.Equal(t, 1.0, testutil.ToFloat64(h))
		stop()
	})
}

func TestHealth_OwnStopIsNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		block := &dependency{}
		h := NewHealth([]Probe{{Name: "redis", Check: func(ctx context.Context) error {
			if block.Check(ctx) == nil && block.calls == 1 {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}}}, HealthOptions{Logger: NewLogger(&out, slog.LevelDebug)})
		stop := run(t, h)
		pass(2 * time.Second)
		before := h.Readiness()
		require.True(t, before.Ready)
		stop()
		require.Equal(t, before, h.Readiness())
		require.Empty(t, logged(t, &out))
	})
}

func TestHealth_FailAndRecover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now().UTC()
		var out bytes.Buffer
		h := NewHealth(nil, HealthOptions{Logger: NewLogger(&out, slog.LevelInfo)})
		require.Equal(t, Readiness{Ready: true, Checks: map[string]Condition{}}, h.Readiness())

		h.Recover("pipeline")
		require.Equal(t, Readiness{Ready: true, Checks: map[string]Condition{"pipeline": {OK: true, Since: start}}}, h.Readiness())

		pass(time.Second)
		h.Fail("schema", errors.New("column speed is missing"))
		pass(time.Second)
		h.Fail("schema", errors.New("table positions is missing, password=s3cret"))
		require.Equal(t, Readiness{Checks: map[string]Condition{
			"pipeline": {OK: true, Since: start},
			"schema":   {Since: start.Add(time.Second), Error: "table positions is missing, password=xxxxx"},
		}}, h.Readiness())

		h.Recover("schema")
		h.Recover("schema")
		require.Equal(t, Readiness{Ready: true, Checks: map[string]Condition{
			"pipeline": {OK: true, Since: start},
			"schema":   {OK: true, Since: start.Add(2 * time.Second)},
		}}, h.Readiness())
		require.Empty(t, logged(t, &out), "who reports a condition logs it")
	})
}

func TestHealth_Loops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		h := NewHealth(nil, HealthOptions{Logger: NewLogger(&out, slog.LevelInfo)})
		require.Equal(t, Liveness{Alive: true, Loops: map[string]Heartbeat{}}, h.Liveness())

		pass(time.Minute)
		reader := h.Loop("reader telemetry:t", 10*time.Second)
		writer := h.Loop("writer", time.Minute)
		pass(10 * time.Second)
		require.Equal(t, Liveness{Alive: true, Loops: map[string]Heartbeat{
			"reader telemetry:t": {OK: true, SilentSeconds: 10, MaxSilentSeconds: 10},
			"writer":             {OK: true, SilentSeconds: 10, MaxSilentSeconds: 60},
		}}, h.Liveness())

		h.Fail("postgres", errors.New("down"))
		require.True(t, h.Liveness().Alive, "an outage is no reason to restart")

		writer.Beat()
		pass(500 * time.Millisecond)
		for range 2 {
			require.Equal(t, Liveness{Loops: map[string]Heartbeat{
				"reader telemetry:t": {SilentSeconds: 10.5, MaxSilentSeconds: 10},
				"writer":             {OK: true, SilentSeconds: 0.5, MaxSilentSeconds: 60},
			}}, h.Liveness())
		}
		reader.Beat()
		require.True(t, h.Liveness().Alive)

		again := h.Loop("reader telemetry:t", 20*time.Second)
		reader.Done()
		writer.Done()
		require.Equal(t, Liveness{Alive: true, Loops: map[string]Heartbeat{
			"reader telemetry:t": {OK: true, MaxSilentSeconds: 20},
		}}, h.Liveness(), "the first reader's Done does not end its successor")
		again.Done()
		pass(time.Hour)
		require.Equal(t, Liveness{Alive: true, Loops: map[string]Heartbeat{}}, h.Liveness())
		require.Equal(t, []map[string]any{
			{"level": "warn", "msg": "loop is silent", "loop": "reader telemetry:t", "silent_seconds": 10.5},
			{"level": "info", "msg": "loop turns again", "loop": "reader telemetry:t"},
		}, logged(t, &out))
	})
}
