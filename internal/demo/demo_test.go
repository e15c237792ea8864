package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"
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

// options returns the options of a small demo that writes to out.
func options(t *testing.T, out *transcript) Options {
	t.Helper()
	o := Options{Devices: 20, Rate: 500, Seed: 1, Out: out}
	require.NoError(t, kong.ApplyDefaults(&o.Worker))
	return o
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

var (
	ledgerLine = regexp.MustCompile(`^ledger: read (\d+) = inserted (\d+) \+ merged 0 \+ unchanged 0 \+ dead_lettered 0 \+ in flight 0$`)
	// A stop may abandon a pipeline before its reply arrives.
	resultLine = regexp.MustCompile(`^published (\d+) positions(?:,|, and up to (\d+) more that Redis did not confirm;) stored (\d+) rows: (?:equal|nothing is missing)$`)
)

// requireEqualLedger checks the end of the output and returns the number of positions.
func requireEqualLedger(t *testing.T, lines []string) int {
	t.Helper()
	require.GreaterOrEqual(t, len(lines), 2)
	ledger := ledgerLine.FindStringSubmatch(lines[len(lines)-2])
	result := resultLine.FindStringSubmatch(lines[len(lines)-1])
	require.NotNil(t, ledger, lines)
	require.NotNil(t, result, lines)
	require.Equal(t, []string{result[3], result[3]}, ledger[1:])
	published, err := strconv.Atoi(result[1])
	require.NoError(t, err)
	unconfirmed, err := strconv.Atoi("0" + result[2])
	require.NoError(t, err)
	stored, err := strconv.Atoi(result[3])
	require.NoError(t, err)
	require.GreaterOrEqual(t, stored, published)
	require.LessOrEqual(t, stored, published+unconfirmed)
	return published
}

func TestDemo_PublishedEqualsStored(t *testing.T) {
	leavesNothing(t)
	out := &transcript{}
	o := options(t, out)
	o.For = 2 * time.Second

	require.NoError(t, Run(t.Context(), o))

	lines := out.lines()
	n := requireEqualLedger(t, lines)
	require.LessOrEqual(t, n, 1001, "at most what is due in 2 s at 500/s")
	require.Greater(t, n, 100)
	require.Regexp(t, `^redis-server \d+\.\d+\S*, PostgreSQL \d+\.\d+, (hypertable \(TimescaleDB \d.*\)|plain table \(TimescaleDB not installed\))$`, lines[2])
	require.Regexp(t, `^worker on http://127\.0\.0\.1:\d+: /metrics /healthz /readyz$`, lines[3])
	require.Regexp(t, fmt.Sprintf(`^ all  published %s \(\d+/s\)  stored %[1]s \(\d+/s\)  lag 0  write p50 \S+ m?s p99 \S+ m?s  commit delay p50 \S+ m?s p99 \S+ m?s  devices 20$`, thousands(n)), lines[len(lines)-3])
	require.Contains(t, strings.Join(lines, "\n"), "\n  1s  published ")
}

func TestDemo_StopsOnSignal(t *testing.T) {
	for _, moment := range []string{"worker on http://", "  1s  published "} {
		t.Run(moment, func(t *testing.T) {
			leavesNothing(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			out := &transcript{when: moment, on: cancel}

			require.NoError(t, Run(ctx, options(t, out)))

			n := requireEqualLedger(t, out.lines())
			require.Equal(t, moment == "  1s  published ", n > 0, n)
		})
	}
}

func TestDemo_WorksOnMiniredis(t *testing.T) {
	leavesNothing(t)
	out := &transcript{}
	o := options(t, out)
	o.For = time.Second
	o.redis = sandbox.RedisOptions{Binary: "no-such-redis-server"}

	require.NoError(t, Run(t.Context(), o))

	require.NotZero(t, requireEqualLedger(t, out.lines()))
	require.Contains(t, out.lines()[2], "miniredis (redis-server not installed), PostgreSQL ")
}

func TestDemo_StoppedDuringStart(t *testing.T) {
	errSignal := errors.New("interrupt signal received")
	for _, step := range []string{"starting Redis", "starting PostgreSQL"} {
		t.Run(step, func(t *testing.T) {
			leavesNothing(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			out := &transcript{when: step, on: func() { cancel(errSignal) }}

			err := Run(ctx, options(t, out))

			require.ErrorIs(t, err, errSignal)
			require.EqualError(t, err, "stopped before anything was published: interrupt signal received")
			require.Contains(t, out.lines()[len(out.lines())-1], step, "nothing is said afterwards")
		})
	}
}

func TestDemo_ServerCannotStart(t *testing.T) {
	leavesNothing(t)
	o := options(t, &transcript{})
	o.redis = sandbox.RedisOptions{ExtraArgs: []string{"--no-such-setting", "1"}}

	err := Run(t.Context(), o)

	require.ErrorContains(t, err, "start redis-server: exit status 1: ")
	require.NotContains(t, err.Error(), "\n")
}
