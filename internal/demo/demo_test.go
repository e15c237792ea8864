package demo

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"processor/internal/sandbox"
)

// transcript is an output that is not a terminal. It calls on once, when a line contains the text.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
	when string
	on   func()
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.on != nil && strings.Contains(string(p), t.when) {
		t.on()
		t.on = nil
	}
	return t.text.Write(p)
}

func (t *transcript) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Split(strings.TrimSpace(t.text.String()), "\n")
}

// options returns the options of a small demo in this process that writes to out. Its worker is this test binary.
func options(out *transcript) Options {
	return Options{Devices: 20, Rate: 500, Seed: 1, Out: out, Executable: os.Args[0], Command: "processor"}
}

// leavesNothing fails the test if a file is left in the temporary directory or a goroutine is left at its
// end. A running server has a goroutine that waits for it.
func leavesNothing(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("", "demo-test-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755)) // PostgreSQL may have to run as another user
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		goleak.VerifyNone(t)
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)
		require.NoError(t, os.Remove(dir))
	})
}

// The demo works without redis-server. An outage and a kill would not fit into its time.
func TestDemo_WorksOnMiniredis(t *testing.T) {
	leavesNothing(t)
	out := &transcript{}
	o := options(out)
	o.For = 3 * time.Second
	o.redis = sandbox.RedisOptions{Binary: "no-such-redis-server"}
	served := false
	o.Console = func(redisURL, databaseURL string) (string, func(context.Context) error, error) {
		require.Contains(t, redisURL+databaseURL, "postgres://")
		return "http://127.0.0.1:1/", func(ctx context.Context) error {
			<-ctx.Done()
			served = true
			return nil
		}, nil
	}

	require.NoError(t, Run(t.Context(), t.Context(), o))

	lines := out.lines()
	text := strings.Join(lines, "\n")
	require.Regexp(t, `^0 kills, 0 outages, 1,000 duplicates, 12 bad: [\d,]+ published = [\d,]+ rows \+ 12 dead letters$`, lines[len(lines)-1])
	require.Regexp(t, `(?m)^ all  published [\d,]+ \(\d+/s\)  rows [\d,]+ \(\d+/s\)  unread 0  pending 0  unchanged 1,000  dead letters 12  write p50 \S+ m?s p99 \S+ m?s  commit delay p50 \S+ m?s p99 \S+ m?s$`, text)
	require.Regexp(t, `(?m)^miniredis \(redis-server not installed\), PostgreSQL \d+\.\d+, (hypertable \(TimescaleDB \d.*\)|plain table \(TimescaleDB not installed\))$`, text)
	require.Contains(t, text, "\n  1s  published ")
	require.Contains(t, text, "\n  console in the browser: http://127.0.0.1:1/\n")
	require.True(t, served)
}

func TestDemo_StoppedBeforeTheFirstPosition(t *testing.T) {
	leavesNothing(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &transcript{when: "worker on http://", on: cancel}

	require.NoError(t, Run(ctx, t.Context(), options(out)))

	lines := out.lines()
	require.Equal(t, "0 kills, 0 outages, 0 duplicates, 0 bad: 0 published = 0 rows + 0 dead letters", lines[len(lines)-1])
}

func TestDemo_StoppedDuringStart(t *testing.T) {
	errSignal := errors.New("interrupt signal received")
	for _, step := range []string{"starting Redis", "starting PostgreSQL"} {
		t.Run(step, func(t *testing.T) {
			leavesNothing(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			out := &transcript{when: step, on: func() { cancel(errSignal) }}

			err := Run(ctx, t.Context(), options(out))

			require.ErrorIs(t, err, errSignal)
			require.EqualError(t, err, "stopped before anything was published: interrupt signal received")
			require.Contains(t, out.lines()[len(out.lines())-1], step, "nothing is said afterwards")
		})
	}
}

func TestDemo_ServerCannotStart(t *testing.T) {
	leavesNothing(t)
	o := options(&transcript{})
	o.redis = sandbox.RedisOptions{ExtraArgs: []string{"--no-such-setting", "1"}}

	err := Run(t.Context(), t.Context(), o)

	require.ErrorContains(t, err, "start redis-server: exit status 1: ")
	require.NotContains(t, err.Error(), "\n")
}

// A worker that does not start, here for a setting that it refuses, ends the demo with what it says.
func TestDemo_WorkerCannotStart(t *testing.T) {
	leavesNothing(t)
	t.Setenv("BATCH_SIZE", "nonsense")
	out := &transcript{}

	err := Run(t.Context(), t.Context(), options(out))

	require.ErrorIs(t, err, errWorkerEnded)
	require.ErrorContains(t, err, "exit status 2")
	require.Contains(t, strings.Join(out.lines(), "\n"), "BATCH_SIZE")
}
