package faultkit

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
	"processor/internal/stream"
)

// addTo adds an entry with this payload to a stream.
func (r *rig) addTo(name, payload string) (id string) {
	r.t.Helper()
	id, err := r.redis.XAdd(r.t.Context(), &redis.XAddArgs{Stream: name, Values: []any{"payload", payload}}).Result()
	require.NoError(r.t, err)
	return id
}

// device is a further position, of this device, that is added to the first stream and not expected yet.
func (r *rig) device(name string) (payload string) {
	r.t.Helper()
	record := r.record()
	payload = strings.Replace(string(record.Payload), record.DeviceID, name, 1)
	r.add(payload)
	return payload
}

func (r *rig) pendingOf(name string) int64 {
	p, err := r.redis.XPending(r.t.Context(), name, r.config.Group).Result()
	if err != nil {
		return -1
	}
	return p.Count
}

// The dead letters of one stream cannot be written: its good entries are stored and acknowledged, those of
// another stream too, with more bad entries than there are writers.
func TestBad_DeadLettersOfOneStreamCannotBeWritten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.config.Writers, r.config.BatchSize = 2, 50
	a := r.config.Streams[0]
	b := a + ":2"
	r.config.Streams = append(r.config.Streams, b)
	require.NoError(t, r.redis.Set(t.Context(), stream.DeadKey(a), "no stream", 0).Err())
	letters := r.publishWithBad(1000, 10)
	r.publishTo(b, 500)
	letters = append(letters, "not_json "+r.addTo(b, "nonsense"))
	w := r.start()
	servertest.Until(t, "good entries are stored", func() bool { return r.rows() == "1500" })
	servertest.Until(t, "and acknowledged", func() bool { return r.pendingOf(a) == 10 && r.pendingOf(b) == 0 })
	servertest.Until(t, "it is reported", func() bool { return w.failing("dead letters "+a) != "" })
	require.Empty(t, w.failing("dead letters "+b))
	require.Len(t, w.lines("dead letters cannot be written; retrying"), 1)

	// It goes on: entries that come later, too.
	for i := range 3 {
		letters = append(letters, "not_json "+r.add(fmt.Sprint("later nonsense ", i)))
		r.publish(100)
		rows := fmt.Sprint(len(r.published))
		servertest.Until(t, "later rows are there", func() bool { return r.rows() == rows && r.pendingOf(a) == int64(11+i) })
	}
	require.NoError(t, r.redis.Del(t.Context(), stream.DeadKey(a)).Err())
	r.awaitDrained()
	servertest.Until(t, "ready again", w.ready)
	require.Equal(t, ledger{Read: 1814, Inserted: 1800, DeadLettered: 14, Balanced: true}, w.stop())
	r.requireExact(letters...)
}

// Redis refuses XACK on one stream: another one goes on, and so does reading this one.
func TestBad_XACKOfOneStreamIsRefused(t *testing.T) {
	t.Parallel()
	server := servertest.NewRedis(t, sandbox.RedisOptions{})
	r := newRigOn(t, server.URL(), servertest.Migrated(t))
	r.config.Writers = 2
	a := r.config.Streams[0]
	b := a + ":2"
	r.config.Streams = append(r.config.Streams, b)
	rights := func(rules ...any) {
		args := append([]any{"ACL", "SETUSER", "worker", "reset", "on", ">secret"}, rules...)
		require.NoError(t, r.redis.Do(t.Context(), args...).Err())
	}
	rights("+@all", "-xack", "~*", "(+@all ~"+b+")")
	r.config.Redis.URL = strings.Replace(server.URL(), "redis://", "redis://worker:secret@", 1)
	r.publishTo(a, 500)
	r.publishTo(b, 500)
	w := r.start()
	servertest.Until(t, "all rows are there", func() bool { return r.rows() == "1000" })
	servertest.Until(t, "the other stream is acknowledged", func() bool { return r.pendingOf(a) == 500 && r.pendingOf(b) == 0 })
	r.publishTo(a, 100)
	r.publishTo(b, 100)
	servertest.Until(t, "later rows are there", func() bool { return r.rows() == "1200" })
	servertest.Until(t, "it is reported", func() bool { return w.failing("acknowledge "+a) != "" })
	require.Empty(t, w.failing("acknowledge "+b))
	rights("+@all", "~*")
	r.awaitDrained()
	servertest.Until(t, "ready again", w.ready)
	require.Equal(t, ledger{Read: 1200, Inserted: 1200, Balanced: true}, w.stop(), "nothing was delivered twice")
	r.requireExact()
}

// More rows are parked than memory may hold: the others stay pending in Redis and are read again once
// there is room. Good rows go on meanwhile, and each entry counts once.
func TestLimit_MoreRowsAreParkedThanFit(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.config.BatchBytes = 64 << 10
	r.config.ClaimIdle = time.Second
	r.execute(strings.Replace(fmt.Sprintf(refuse, "57014"), "= 'odd'", "LIKE 'odd%'", 1))
	var odd [][]byte
	for range 30 {
		r.publish(50)
		for range 5 {
			odd = append(odd, []byte(r.device(fmt.Sprint("odd", len(odd)))))
		}
	}
	w := r.start()
	servertest.Until(t, "all good rows are there", func() bool { return r.rows() == "1500" })
	servertest.Until(t, "and acknowledged", func() bool { return r.pending() == int64(len(odd)) })
	require.Equal(t, float64(len(odd)), w.metric("processor_entries_in_flight"))
	r.publish(50)
	servertest.Until(t, "later rows are there", func() bool { return r.rows() == "1550" })
	require.Empty(t, r.letters())
	r.execute(`DROP TRIGGER refuse ON positions`)
	r.published = append(r.published, odd...)
	r.awaitDrained()
	servertest.Until(t, "ready again", w.ready)
	total := len(r.published)
	l := w.stop()
	require.Equal(t, ledger{Read: total, Inserted: total, Balanced: true}, l)
	r.requireExact()
}

// gated makes the server refuse the devices "odd…" and "stuck", the latter once the advisory lock 1 is free.
const gated = `
CREATE FUNCTION gated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.device_id = 'stuck' THEN PERFORM pg_advisory_xact_lock(1); END IF;
	IF NEW.device_id LIKE 'odd%' OR NEW.device_id = 'stuck' THEN RAISE EXCEPTION 'not this one' USING ERRCODE = '57014'; END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER gated BEFORE INSERT ON positions FOR EACH ROW EXECUTE FUNCTION gated()`

// The retry of a parked row hangs in the database: no other row waits for it, nor does a worker that has
// another row to park.
func TestLimit_ParkedRowsDelayNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.config.Writers, r.config.WriteTimeout = 1, 10*time.Minute
	r.execute(gated)
	var refused [][]byte
	r.publish(10)
	refused = append(refused, []byte(r.device("stuck")))
	w := r.start()
	servertest.Until(t, "it is parked", func() bool { return len(w.lines(alone)) == 1 })

	conn := servertest.Connect(t, r.database)
	_, err := conn.Exec(t.Context(), `SELECT pg_advisory_lock(1)`)
	require.NoError(t, err)
	servertest.Until(t, "the retry hangs", func() bool {
		return r.ask(`SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`)[0] == "1"
	})
	for i := range 5 {
		refused = append(refused, []byte(r.device(fmt.Sprint("odd", i))))
		r.publish(10)
		rows := fmt.Sprint(len(r.published))
		servertest.Until(t, "later rows are there", func() bool { return r.rows() == rows })
	}
	_, err = conn.Exec(t.Context(), `SELECT pg_advisory_unlock(1)`)
	require.NoError(t, err)
	r.execute(`DROP TRIGGER gated ON positions`)
	r.published = append(r.published, refused...)
	r.awaitDrained()
	w.stop()
	r.requireExact()
}

// All batches of one stream hang in the database, more than there are writers: another stream goes on.
func TestLimit_OneStreamHangs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.config.Writers, r.config.BatchSize, r.config.WriteTimeout = 2, 10, 10*time.Minute
	b := r.config.Streams[0] + ":2"
	r.config.Streams = append(r.config.Streams, b)
	r.execute(gated)
	conn := servertest.Connect(t, r.database)
	_, err := conn.Exec(t.Context(), `SELECT pg_advisory_lock(1)`)
	require.NoError(t, err)
	var stuck [][]byte
	for range 5 {
		for range r.config.BatchSize {
			stuck = append(stuck, []byte(r.device("stuck")))
		}
	}
	w := r.start()
	servertest.Until(t, "its batches hang", func() bool {
		return r.ask(`SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`)[0] >= "2"
	})
	r.publishTo(b, 100)
	servertest.Until(t, "the other stream is stored", func() bool { return r.rows() == "100" && r.pendingOf(b) == 0 })
	w.Kill()
	require.Equal(t, 50, len(stuck))
	require.Empty(t, r.letters())
}

// Workers are killed and stopped again and again while the database is away: however often the entries
// were delivered, that says nothing against them.
func TestKill_RestartsInAnOutage(t *testing.T) {
	lock := func(r *rig, mode string) (end func()) {
		conn, err := pgx.Connect(t.Context(), r.database)
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), `BEGIN; LOCK TABLE positions IN `+mode+` MODE`)
		require.NoError(t, err)
		return func() { require.NoError(t, conn.Close(context.WithoutCancel(t.Context()))) }
	}
	proxied := func(away func(*Proxy)) func(*rig) func() {
		return func(r *rig) func() {
			_, postgres := r.throughProxies()
			away(postgres)
			return postgres.Pass
		}
	}
	cases := map[string]struct {
		begin func(*rig) (end func())
		reads bool // a worker that has never reached its database takes no entries
	}{
		"refuses connections": {proxied((*Proxy).Refuse), false},
		"hangs":               {proxied((*Proxy).Swallow), false},
		"table locked":        {func(r *rig) func() { return lock(r, "ACCESS EXCLUSIVE") }, true},
		"writes locked":       {func(r *rig) func() { return lock(r, "EXCLUSIVE") }, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.config.MaxDeliveries = 2
			r.config.ShutdownTimeout = 100 * time.Millisecond
			r.publish(20)
			end := c.begin(r)
			for i := range 12 {
				w := r.start()
				if c.reads {
					servertest.Until(t, "entries are in flight", func() bool { return w.metric("processor_entries_in_flight") == 20 })
				} else {
					servertest.Until(t, "the outage is known", func() bool { return len(w.lines("check is failing")) > 0 })
					require.Zero(t, w.metric("processor_entries_read_total"))
				}
				if i%4 == 3 {
					w.Signal(syscall.SIGTERM)
					require.True(t, w.Wait().Success(), w.Log())
					continue
				}
				w.Kill()
			}
			if c.reads {
				require.Equal(t, int64(20), r.pending())
			}
			end()
			l := r.finish(nil)
			require.Equal(t, 20, l.Inserted+l.Unchanged, "what a killed worker had sent may be committed")
			marks, err := r.redis.HLen(t.Context(), stream.PoisonKey(r.config.Streams[0])).Result()
			require.NoError(t, err)
			require.Zero(t, marks)
		})
	}
}

// A parked entry is pending for longer than --claim-idle: its own worker renews it rather than claim it,
// which would count as a delivery.
func TestReplica_ClaimsNothingOfItsOwn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.config.ClaimIdle, r.config.MaxDeliveries = time.Second, 2
	r.execute(fmt.Sprintf(refuse, "57014"))
	r.publish(10)
	odd := r.device("odd")
	w := r.start()
	servertest.Until(t, "it is parked", func() bool { return len(w.lines(alone)) == 1 && r.pending() == 1 })
	state := func() redis.XPendingExt {
		p, err := r.redis.XPendingExt(t.Context(), &redis.XPendingExtArgs{
			Stream: r.config.Streams[0], Group: r.config.Group, Start: "-", End: "+", Count: 1}).Result()
		require.NoError(t, err)
		require.Len(t, p, 1)
		return p[0]
	}
	idle := time.Duration(0)
	for renewed := 0; renewed < 4; {
		servertest.Until(t, "it is renewed", func() bool {
			was := idle
			idle = state().Idle
			return idle < was
		})
		renewed++
	}
	require.Equal(t, int64(1), state().RetryCount)
	require.Zero(t, w.metric("processor_claimed_total"))
	r.execute(`DROP TRIGGER refuse ON positions`)
	r.published = append(r.published, []byte(odd))
	r.awaitDrained()
	require.Equal(t, ledger{Read: 11, Inserted: 11, Balanced: true}, w.stop())
	r.requireExact()
}
