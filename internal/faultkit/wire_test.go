package faultkit

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/servertest"
)

// The connection breaks around the commit, and the worker lives: the outcome is unknown, is
// counted, and is settled by the upsert. COMMIT itself is never sent again.
func TestWire_CommitOfUnknownOutcome(t *testing.T) {
	cases := map[string]struct {
		answered            bool
		inserted, unchanged int
	}{
		"request lost: nothing was committed": {false, 1000, 0},
		"answer lost: all was committed":      {true, 900, 100},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			_, postgres := r.throughProxies()
			sprung := postgres.Set(Trap{At: Commit, Answered: c.answered})
			r.publish(1000)
			w := r.start()
			servertest.Within(t, sprung)
			r.awaitDrained()
			require.Equal(t, 1.0, w.metric("processor_commit_unknown_total"))
			require.Equal(t, 1.0, w.metric("processor_write_errors_total"))
			l := w.stop()
			require.Equal(t, ledger{Read: 1000, Inserted: c.inserted, Unchanged: c.unchanged, Balanced: true}, l)
			r.requireExact()
		})
	}
}

// Redis has delivered the entries, and the worker never saw them: it reads them again as its own
// pending ones.
func TestWire_ReplyWithTheEntriesIsLost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	redis, _ := r.throughProxies()
	sprung := redis.Set(Trap{At: third(Read), Answered: true})
	r.publish(1000)
	w := r.start()
	servertest.Within(t, sprung)
	r.awaitDrained()
	require.Equal(t, ledger{Read: 1000, Inserted: 1000, Balanced: true}, w.stop())
	r.requireExact()
	require.NotEmpty(t, w.field("entries that were pending for this consumer are read again", "entries"))
}

// XACK is repeated until it works, on whichever side of Redis it was lost.
func TestWire_XACKFails(t *testing.T) {
	for name, answered := range map[string]bool{"request lost": false, "answer lost": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			redis, _ := r.throughProxies()
			sprung := redis.Set(Trap{At: third(Command("XACK")), Answered: answered})
			r.publish(1000)
			w := r.start()
			servertest.Within(t, sprung)
			r.awaitDrained()
			require.Equal(t, ledger{Read: 1000, Inserted: 1000, Balanced: true}, w.stop(), "nothing was delivered twice")
			r.requireExact()
		})
	}
}

// A dead letter is written once, on whichever side of Redis it was lost.
func TestWire_DeadLetterIsLost(t *testing.T) {
	for name, answered := range map[string]bool{"request lost": false, "answer lost": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			redis, _ := r.throughProxies()
			sprung := redis.Set(Trap{At: third(DeadLetter), Answered: answered})
			letters := r.publishWithBad(1000, 10)
			w := r.start()
			servertest.Within(t, sprung)
			r.awaitDrained()
			require.Equal(t, ledger{Read: 1010, Inserted: 1000, DeadLettered: 10, Balanced: true}, w.stop())
			r.requireExact(letters...)
		})
	}
}

// A server that hangs without closing its connections is noticed, and used again when it answers.
func TestWire_ServersHang(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.config.WriteTimeout = time.Second
	redis, postgres := r.throughProxies()
	w := r.start()
	r.publish(1000)
	r.awaitDrained()
	servertest.Until(t, "ready", w.ready)
	for _, proxy := range []*Proxy{postgres, redis} {
		proxy.Swallow()
		r.publish(1000)
		servertest.Until(t, "not ready", func() bool { return !w.ready() })
		require.True(t, w.alive())
		proxy.Pass()
		r.awaitDrained()
		servertest.Until(t, "ready again", w.ready)
	}
	l := w.stop()
	require.Equal(t, 3000, l.Inserted+l.Unchanged)
	r.requireExact()
}

// Redis and PostgreSQL are down when the worker starts: it lives, is not ready, and works when
// they come up.
func TestWire_ServersAreDownAtTheStart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	redis, postgres := r.throughProxies()
	redis.Refuse()
	postgres.Refuse()
	r.publish(1000)
	w := r.start()
	servertest.Until(t, "both are known to be down", func() bool {
		return len(w.lines("check is failing")) == 2
	})
	require.True(t, w.alive())
	require.False(t, w.ready())

	redis.Pass()
	servertest.Until(t, "Redis is there", func() bool { return w.failing("redis") == "" })
	require.True(t, w.alive())
	require.False(t, w.ready())
	require.Zero(t, w.metric("processor_entries_read_total"), "without a database it must not take entries")
	postgres.Pass()
	servertest.Until(t, "ready", w.ready)
	r.awaitDrained()
	require.Equal(t, ledger{Read: 1000, Inserted: 1000, Balanced: true}, w.stop())
	r.requireExact()
}

// With both servers gone there is nothing to wait for but the shutdown's own limit.
func TestWire_StopsWhileServersAreDown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.config.ShutdownTimeout = time.Second
	redis, postgres := r.throughProxies()
	w := r.start()
	servertest.Until(t, "ready", w.ready)
	postgres.Refuse()
	r.publish(1000)
	servertest.Until(t, "entries are in flight", func() bool { return w.metric("processor_entries_in_flight") > 0 })
	redis.Refuse()
	began := time.Now()
	w.Signal(syscall.SIGTERM)
	require.True(t, w.Wait().Success(), w.Log())
	require.Less(t, time.Since(began), 15*time.Second)
	require.Positive(t, w.ledger().InFlight, "they stay pending")
	redis.Pass()
	postgres.Pass()
	r.finish(nil)
}
