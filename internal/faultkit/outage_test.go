package faultkit

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
)

// PostgreSQL crashes in mid-drain, more than once: the same process holds its batches, says that
// it is not ready, lives, and goes on when the server is back.
func TestOutage_PostgresStopsImmediately(t *testing.T) {
	t.Parallel()
	outages, down, positions := 2, time.Duration(0), 20_000
	if full() {
		outages, down, positions = 3, 10*time.Second, 100_000
	}
	server := servertest.NewPostgres(t)
	r := newRigOn(t, servertest.Redis(t), ownDatabase(t, server))
	w := r.start()
	servertest.Until(t, "ready", w.ready)
	wait := r.publishing(positions, 2000)
	for range outages {
		inserted := w.metric(`processor_positions_total{outcome="inserted"}`)
		servertest.Until(t, "positions are being written", func() bool {
			return w.metric(`processor_positions_total{outcome="inserted"}`) > inserted+1000
		})
		require.NoError(t, server.StopImmediate(t.Context()))
		began := time.Now()
		servertest.Until(t, "not ready", func() bool {
			require.True(t, w.alive())
			return !w.ready()
		})
		servertest.Until(t, "readiness names PostgreSQL", func() bool { return w.failing("postgres") != "" })
		if full() { // beside other tests a time proves nothing
			require.Less(t, time.Since(began), 10*time.Second)
		}
		servertest.Until(t, "the outage is over", func() bool {
			require.True(t, w.alive())
			require.False(t, w.ready())
			return time.Since(began) > down
		})
		require.NoError(t, server.Restart(t.Context()))
		servertest.Until(t, "ready again", func() bool {
			require.True(t, w.alive())
			return w.ready()
		})
		t.Logf("down and not ready for %v", time.Since(began).Round(time.Millisecond))
	}
	wait()
	r.awaitDrained()
	l := w.stop()
	t.Logf("%+v", l)
	require.Equal(t, positions, l.Read)
	require.Equal(t, positions, l.Inserted+l.Unchanged)
	r.requireExact()
}

// Redis crashes in mid-drain, more than once. It syncs its append-only file at every command
// here, so that what it acknowledged to the publisher is there afterwards.
func TestOutage_RedisIsKilled(t *testing.T) {
	t.Parallel()
	outages, positions := 2, 10_000
	if full() {
		outages, positions = 5, 100_000
	}
	server := servertest.NewRedis(t, sandbox.RedisOptions{AppendOnly: true, ExtraArgs: []string{"--appendfsync", "always"}})
	r := newRigOn(t, server.URL(), servertest.Migrated(t))
	w := r.start()
	servertest.Until(t, "ready", w.ready)
	wait := r.publishing(positions, 2000)
	for range outages {
		inserted := w.metric(`processor_positions_total{outcome="inserted"}`)
		servertest.Until(t, "positions are being written", func() bool {
			return w.metric(`processor_positions_total{outcome="inserted"}`) > inserted+1000
		})
		require.NoError(t, server.Kill())
		servertest.Until(t, "not ready", func() bool {
			require.True(t, w.alive())
			return !w.ready()
		})
		require.NoError(t, server.Restart(t.Context()))
		servertest.Until(t, "ready again", func() bool {
			require.True(t, w.alive())
			return w.ready()
		})
	}
	wait()
	r.awaitDrained()
	l := w.stop()
	t.Logf("%+v", l)
	require.Equal(t, positions, l.Inserted)
	r.requireExact()
}

// Redis loses everything, by FLUSHALL and by a restart without a file: the worker goes on with
// what is published afterwards, and says that the group was created anew.
func TestOutage_RedisForgetsEverything(t *testing.T) {
	t.Parallel()
	server := servertest.NewRedis(t, sandbox.RedisOptions{})
	r := newRigOn(t, server.URL(), servertest.Migrated(t))
	w := r.start()
	r.publish(1000)
	r.awaitDrained()
	require.NoError(t, r.redis.FlushAll(t.Context()).Err())
	r.publish(1000)
	r.awaitDrained()
	require.Equal(t, 1.0, w.metric("processor_group_recreated_total"))
	require.Len(t, w.lines("stream or consumer group was gone; the group is created anew at the beginning of the stream"), 1)

	// A restart without a file, with nothing published meanwhile.
	require.NoError(t, server.Kill())
	require.NoError(t, server.Restart(t.Context()))
	r.publish(1000)
	r.awaitDrained()
	require.Equal(t, 2.0, w.metric("processor_group_recreated_total"))
	servertest.Until(t, "ready", w.ready)
	l := w.stop()
	require.Equal(t, 3000, l.Inserted)
	r.requireExact()
}
