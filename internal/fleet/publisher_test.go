package fleet_test

import (
	"context"
	"errors"
	"math"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/fleet"
)

const stream = "telemetry:t"

// nowhere is the address of a client whose hooks reply instead of Redis.
const nowhere = "127.0.0.1:1"

// newClient returns a client without retries: the publisher retries.
func newClient(t *testing.T, addr string) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

func records(n int) []fleet.Record {
	return take(fleet.New(fleet.Options{Devices: 10, Start: start, Step: time.Second}), n, unused)
}

// fields returns the expected entry of a record, keys and values in order.
func fields(rec fleet.Record) []string {
	return []string{
		"ts", rec.Timestamp.Format("2006-01-02T15:04:05.000Z"),
		"device_id", rec.DeviceID,
		"codec", rec.Codec,
		"payload", string(rec.Payload),
	}
}

// stored returns the entries of the stream, keys and values in order.
func stored(t *testing.T, m *miniredis.Miniredis) [][]string {
	t.Helper()
	entries, err := m.Stream(stream)
	require.NoError(t, err)
	var values [][]string
	for _, e := range entries {
		values = append(values, e.Values)
	}
	return values
}

func TestPublisher_WritesTheEntriesOfTCPIngestion(t *testing.T) {
	m := miniredis.RunT(t)
	p := fleet.NewPublisher(newClient(t, m.Addr()), stream, 0)

	var batch []fleet.Record
	var want [][]string
	for _, e := range realEntries(t) {
		ts, err := time.Parse(time.RFC3339, e.TS)
		require.NoError(t, err)
		batch = append(batch, fleet.Record{DeviceID: e.DeviceID, Timestamp: ts, Codec: e.Codec, Payload: []byte(e.Payload)})
		want = append(want, []string{"ts", e.TS, "device_id", e.DeviceID, "codec", e.Codec, "payload", e.Payload})
	}
	for _, rec := range records(1_203) { // some pipelines
		batch = append(batch, rec)
		want = append(want, fields(rec))
	}
	require.NoError(t, p.Publish(t.Context(), batch...))

	require.Equal(t, want, stored(t, m))
	require.EqualValues(t, len(want), p.Published())
	require.Zero(t, p.Unconfirmed())
}

func TestPublisher_RunPublishesTheCount(t *testing.T) {
	for name, rate := range map[string]float64{"as fast as possible": 0, "paced": 50_000} {
		t.Run(name, func(t *testing.T) {
			m := miniredis.RunT(t)
			p := fleet.NewPublisher(newClient(t, m.Addr()), stream, 0)
			opts := fleet.Options{Devices: 10, Start: start, Step: time.Second}

			require.NoError(t, p.Run(t.Context(), fleet.New(opts), fleet.Pace{Rate: rate, Count: 1_234}))

			var want [][]string
			for _, rec := range take(fleet.New(opts), 1_234, unused) {
				want = append(want, fields(rec))
			}
			require.Equal(t, want, stored(t, m))
			require.EqualValues(t, 1_234, p.Published())
			require.Zero(t, p.Unconfirmed())
		})
	}
}

func TestPublisher_TrimsToMaxLen(t *testing.T) {
	m := miniredis.RunT(t)
	batch := records(50)
	var commands [][]string
	m.Server().SetPreHook(func(_ *server.Peer, cmd string, args ...string) bool {
		if cmd == "XADD" {
			commands = append(commands, args[:5])
		}
		return false
	})
	p := fleet.NewPublisher(newClient(t, m.Addr()), stream, 20)
	require.NoError(t, p.Publish(t.Context(), batch...))

	require.Len(t, commands, 50)
	require.Equal(t, []string{stream, "maxlen", "~", "20", "*"}, commands[0])
	require.EqualValues(t, 50, p.Published())
}

// faults makes pipelines fail, in order, with errors. A nil error means success,
// as does the end of the list. With an applied fault only Redis's reply is lost.
type faults struct {
	errs    []error
	applied bool
}

func (*faults) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (*faults) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (f *faults) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if len(f.errs) == 0 || cmds[0].Name() != "xadd" { // a new connection sends HELLO in a pipeline as well
			return next(ctx, cmds)
		}
		err := f.errs[0]
		f.errs = f.errs[1:]
		if err == nil || f.applied {
			if err := next(ctx, cmds); err != nil {
				return err
			}
		}
		if err != nil {
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
		}
		return err
	}
}

func TestPublisher_SendsAgainWhatWasNotAcknowledged(t *testing.T) {
	broken := &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}
	tests := map[string]struct {
		faults     *faults
		wantStream int // entries
	}{
		"not applied":        {&faults{errs: []error{broken, broken, nil}}, 3},
		"answer was lost":    {&faults{errs: []error{broken, broken, nil}, applied: true}, 9},
		"nothing goes amiss": {&faults{}, 3},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := miniredis.RunT(t)
			client := newClient(t, m.Addr())
			client.AddHook(test.faults)
			p := fleet.NewPublisher(client, stream, 0)
			var retries []error
			p.OnRetry = func(err error, _ time.Duration) { retries = append(retries, err) }
			var wantRetries []error
			for _, err := range test.faults.errs {
				if err != nil {
					wantRetries = append(wantRetries, err)
				}
			}
			batch := records(3)
			require.NoError(t, p.Publish(t.Context(), batch...))

			require.Equal(t, wantRetries, retries)
			var want [][]string
			for len(want) < test.wantStream {
				want = append(want, fields(batch[0]), fields(batch[1]), fields(batch[2]))
			}
			require.Equal(t, want, stored(t, m))
			require.EqualValues(t, 3, p.Published())
			require.Zero(t, p.Unconfirmed())
		})
	}
}

func TestPublisher_SendsAgainOnlyTheRefusedPart(t *testing.T) {
	m := miniredis.RunT(t)
	p := fleet.NewPublisher(newClient(t, m.Addr()), stream, 0)
	adds := 0
	m.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
		if cmd == "XADD" {
			adds++
		}
		if cmd == "XADD" && (adds == 2 || adds == 3) {
			c.WriteError("OOM command not allowed when used memory > 'maxmemory'.")
			return true
		}
		return false
	})
	batch := records(4)
	require.NoError(t, p.Publish(t.Context(), batch...))

	want := [][]string{fields(batch[0]), fields(batch[3]), fields(batch[1]), fields(batch[2])}
	require.Equal(t, want, stored(t, m))
	require.EqualValues(t, 4, p.Published())
	require.Zero(t, p.Unconfirmed())
}

func TestPublisher_GivesUpWhereNoRetryHelps(t *testing.T) {
	tests := map[string]struct {
		prepare func(*miniredis.Miniredis)
		code    string
	}{
		"no stream":     {func(m *miniredis.Miniredis) { require.NoError(t, m.Set(stream, "x")) }, "WRONGTYPE"},
		"no password":   {func(m *miniredis.Miniredis) { m.RequireAuth("secret") }, "NOAUTH"},
		"not permitted": {func(m *miniredis.Miniredis) { m.SetError("NOPERM no permissions to run 'xadd'") }, "NOPERM"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := miniredis.RunT(t)
			test.prepare(m)
			p := fleet.NewPublisher(newClient(t, m.Addr()), stream, 0)
			p.OnRetry = func(err error, _ time.Duration) { t.Errorf("tried again after %v", err) }

			err := p.Publish(t.Context(), records(2)...)
			require.True(t, redis.HasErrorPrefix(err, test.code), err)
			require.Zero(t, p.Published())
			require.EqualValues(t, 2, p.Unconfirmed())
		})
	}
}

func TestPublisher_WrongPasswordIsNoAcknowledgement(t *testing.T) {
	m := miniredis.RunT(t)
	m.RequireAuth("secret")
	client := redis.NewClient(&redis.Options{Addr: m.Addr(), Password: "wrong", MaxRetries: -1})
	defer client.Close()
	p := fleet.NewPublisher(client, stream, 0)

	err := p.Publish(t.Context(), records(2)...)
	require.True(t, redis.IsAuthError(err), err)
	require.Zero(t, p.Published())
}

func TestPublisher_StopsWithItsContext(t *testing.T) {
	lost := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	stopped := errors.New("stopped")

	t.Run("before anything is sent", func(t *testing.T) {
		m := miniredis.RunT(t)
		p := fleet.NewPublisher(newClient(t, m.Addr()), stream, 0)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()

		require.ErrorIs(t, p.Publish(ctx, records(2)...), context.Canceled)
		require.False(t, m.Exists(stream))
		require.Zero(t, p.Published())
		require.Zero(t, p.Unconfirmed())
	})
	t.Run("while Redis is away", func(t *testing.T) {
		m := miniredis.RunT(t)
		client := newClient(t, m.Addr())
		client.AddHook(&faults{errs: []error{nil, lost, lost, lost}})
		p := fleet.NewPublisher(client, stream, 0)
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		retries := 0
		p.OnRetry = func(error, time.Duration) {
			if retries++; retries == 2 {
				cancel(stopped)
			}
		}

		require.NoError(t, p.Publish(ctx, records(2)...))
		err := p.Publish(ctx, records(3)...)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, lost)
		require.Len(t, stored(t, m), 2)
		require.EqualValues(t, 2, p.Published())
		require.EqualValues(t, 3, p.Unconfirmed())
	})
}

// clockwork replies to every pipeline itself and records the time.
type clockwork struct {
	faults
	delay func(n int) time.Duration // delay of the nth reply

	mu    sync.Mutex
	times []time.Time // one per entry
	n     int
}

func (c *clockwork) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(_ context.Context, cmds []redis.Cmder) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, cmd := range cmds {
			cmd.(*redis.StringCmd).SetVal("1-1")
			c.times = append(c.times, time.Now())
		}
		c.n++
		if c.delay != nil {
			<-time.After(c.delay(c.n))
		}
		return nil
	}
}

// most returns the maximum number of entries within any window of the given length.
func (c *clockwork) most(window time.Duration) int {
	most, from := 0, 0
	for to := range c.times {
		for c.times[to].Sub(c.times[from]) > window {
			from++
		}
		most = max(most, to-from+1)
	}
	return most
}

func TestPublisher_RunKeepsThePace(t *testing.T) {
	tests := map[string]struct {
		rate  float64
		delay func(int) time.Duration
		most  int // in any 100 ms
	}{
		"slow":        {5, nil, 1},
		"steady":      {1_000, nil, 110},
		"fast":        {10_000, nil, 1_100},
		"slow answer": {1_000, func(int) time.Duration { return 35 * time.Millisecond }, 150},
		"one stall": {1_000, func(n int) time.Duration {
			if n == 100 {
				return 2 * time.Second
			}
			return 0
		}, 300},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &clockwork{delay: test.delay}
				client := newClient(t, nowhere)
				client.AddHook(server)
				p := fleet.NewPublisher(client, stream, 0)
				f := fleet.New(fleet.Options{Devices: 100, Start: time.Now()})
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()

				began := time.Now()
				require.ErrorIs(t, p.Run(ctx, f, fleet.Pace{Rate: test.rate}), context.DeadlineExceeded)

				require.InDelta(t, 10, time.Since(began).Seconds(), 0.1)
				require.InEpsilon(t, 1+10*test.rate, p.Published(), 0.02)
				require.Len(t, server.times, int(p.Published()))
				require.LessOrEqual(t, server.most(100*time.Millisecond), test.most)
			})
		})
	}
}

func TestPublisher_RunRefusesABadPace(t *testing.T) {
	p := fleet.NewPublisher(newClient(t, nowhere), stream, 0)
	f := fleet.New(fleet.Options{Start: start})
	for _, pace := range []fleet.Pace{{Rate: -1}, {Rate: math.NaN()}, {Rate: math.Inf(1)}, {Count: -1}} {
		require.Error(t, p.Run(t.Context(), f, pace), pace)
	}
	require.Zero(t, p.Published())
}
