package faultkit

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/fleet"
	"processor/internal/sandbox"
	"processor/internal/servertest"
)

// pair is a primary and a streaming standby, with a proxy between the two.
type pair struct {
	primary, standby *sandbox.Postgres
	replication      *Proxy
}

// newPair makes both, and a rig on the primary whose workers know both. Where the standby is synchronous, the primary
// waits for it with every commit.
func newPair(t testing.TB, synchronous bool) (*pair, *rig) {
	t.Helper()
	p := &pair{primary: servertest.NewPostgres(t, "wal_keep_size = 1GB", "max_wal_size = 1GB")}
	r := newRigOn(t, servertest.Redis(t), ownDatabase(t, p.primary))
	p.replication = NewProxy(t, PostgreSQL(), host(t, p.primary))
	p.standby = servertest.NewStandby(t, p.primary, sandbox.StandbyOptions{Name: "standby", Upstream: p.replication.Addr()})
	r.config.Database.URL = ofHosts(t, r.database, host(t, p.primary), host(t, p.standby))
	if synchronous {
		r.execute(`ALTER SYSTEM SET synchronous_standby_names = 'standby'`)
		r.execute(`SELECT pg_reload_conf()`)
	}
	state := map[bool]string{true: "sync", false: "async"}[synchronous]
	servertest.Until(t, "the standby is "+state, func() bool {
		states := r.ask(`SELECT sync_state FROM pg_stat_replication WHERE application_name = 'standby' AND state = 'streaming'`)
		return len(states) == 1 && states[0] == state
	})
	return p, r
}

func host(t testing.TB, server *sandbox.Postgres) string {
	t.Helper()
	u, err := url.Parse(server.URL(""))
	require.NoError(t, err)
	return u.Host
}

// ofHosts is a database URL with these servers, of which that is used that takes writes.
func ofHosts(t testing.TB, databaseURL string, hosts ...string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	require.NoError(t, err)
	u.Host = strings.Join(hosts, ",")
	return servertest.WithParameter(t, u.String(), "target_session_attrs", "read-write")
}

// on is the rig's database on another server.
func (r *rig) on(server *sandbox.Postgres) string {
	r.t.Helper()
	u, err := url.Parse(r.database)
	require.NoError(r.t, err)
	u.Host = host(r.t, server)
	return u.String()
}

// received waits until the standby has replayed what the primary has committed.
func (p *pair) received(r *rig) {
	r.t.Helper()
	written := r.ask(`SELECT pg_current_wal_flush_lsn()::text`)[0]
	servertest.Until(r.t, "the standby has replayed everything", func() bool {
		return servertest.Ask(r.t, p.standby.URL("postgres"), `SELECT (pg_last_wal_replay_lsn() >= $1::pg_lsn)::text`, written)[0] == "true"
	})
}

// failOver promotes the standby of a primary that is gone.
func (p *pair) failOver(r *rig) {
	r.t.Helper()
	require.NoError(r.t, p.standby.Promote(r.t.Context()))
	r.database = r.on(p.standby)
}

const outcomeInserted = `processor_positions_total{outcome="inserted"}`

// The primary dies under load and its synchronous standby is promoted: every row is there, in whatever order
// the URL names the servers.
func TestFailover_SynchronousStandbyHasEverything(t *testing.T) {
	for name, swap := range map[string]bool{"primary first": false, "standby first": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, r := newPair(t, true)
			if swap {
				r.config.Database.URL = ofHosts(t, r.database, host(t, p.standby), host(t, p.primary))
			}
			const positions = 6000
			w := r.start()
			servertest.Until(t, "ready", w.ready)
			wait := r.publishing(positions, 2000)
			servertest.Until(t, "positions are being written", func() bool { return w.metric(outcomeInserted) > 1000 })
			require.NoError(t, p.primary.Kill())
			p.failOver(r)
			wait()
			r.awaitDrained()
			servertest.Until(t, "ready again", w.ready)
			require.Equal(t, 1, len(w.lines("started")), "one process")
			l := w.stop()
			require.Equal(t, positions, l.Read)
			require.Equal(t, positions, l.Inserted+l.Unchanged)
			r.requireExact()
		})
	}
}

// With an asynchronous standby a failover loses exactly the rows that it had not received. Their entries are acknowledged,
// so they come back with the stream.
func TestFailover_AsynchronousStandbyLosesWhatItHadNotReceived(t *testing.T) {
	t.Parallel()
	p, r := newPair(t, false)
	w := r.start()
	r.publish(1000)
	r.awaitDrained()
	p.received(r)

	p.replication.Refuse()
	r.publish(500)
	r.awaitDrained()
	require.Equal(t, "1500", r.rows())
	require.NoError(t, p.primary.Kill())
	p.failOver(r)
	servertest.Until(t, "ready again", w.ready)
	r.publish(500)
	r.awaitDrained()
	require.Equal(t, "1500", r.rows())
	require.Empty(t, r.missing(r.published[:1000]))
	require.Empty(t, r.missing(r.published[1500:]))
	require.Equal(t, []string{"0"}, r.ask(`SELECT count(*)::text FROM positions
		WHERE (device_id, ts) IN (SELECT p->>'device_id', (p->>'timestamp')::timestamptz FROM unnest($1::text[]::jsonb[]) AS p)`,
		texts(r.published[1000:1500])), "none of what the standby had not received")

	// What docs/backfill.md says: the group goes back, and what is there already stays as it is.
	name := r.config.Streams[0]
	require.NoError(t, r.redis.XGroupSetID(t.Context(), name, r.config.Group, "0").Err())
	r.awaitDrained()
	require.Equal(t, ledger{Read: 4000, Inserted: 2500, Unchanged: 1500, Balanced: true}, w.stop())
	r.requireExact()
}

// The synchronous standby does not answer: commits wait for it. Nothing is acknowledged, neither where an attempt ends
// by its timeout nor where somebody cancels the wait, by which PostgreSQL ends it with success. A failover at this
// moment loses nothing.
func TestFailover_AcknowledgesNothingThatTheSynchronousStandbyLacks(t *testing.T) {
	fresh := func(r *rig) { r.config.BatchSize = 1000; r.publish(700) }
	const waiting = ` FROM pg_stat_activity WHERE wait_event = 'SyncRep'`
	const cancel, end = `SELECT count(pg_cancel_backend(pid))::text` + waiting, `SELECT count(pg_terminate_backend(pid))::text` + waiting
	for name, c := range map[string]struct {
		publish   func(r *rig)
		interrupt string
	}{
		"the write timeout":             {fresh, ""},
		"canceled":                      {fresh, cancel},
		"ended":                         {fresh, end},
		"canceled, by the plain insert": {func(r *rig) { r.publish(20) }, cancel},
		"canceled, redelivered":         {func(r *rig) { r.redelivered(50) }, cancel},
		"statement_timeout of the role": {func(r *rig) { r.execute(`ALTER DATABASE telemetry SET statement_timeout = '1s'`); fresh(r) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, r := newPair(t, true)
			r.config.WriteTimeout = 2 * time.Second
			c.publish(r)
			p.replication.Swallow()
			w := r.start()
			positions := len(r.published)
			servertest.Until(t, "commits wait for the standby", func() bool { return r.ask(`SELECT count(*)::text` + waiting)[0] != "0" })
			interrupted := 0
			servertest.Until(t, "attempts have failed", func() bool {
				if c.interrupt != "" {
					n, err := strconv.Atoi(r.ask(c.interrupt)[0])
					require.NoError(t, err)
					interrupted += n
				}
				require.EqualValues(t, positions, r.pending(), "nothing is acknowledged")
				return (interrupted >= 3 || c.interrupt == "") && w.metric("processor_write_errors_total") >= 2
			})
			require.Equal(t, fmt.Sprint(positions), r.rows(), "although the rows can be seen on the primary")

			require.NoError(t, p.primary.Kill())
			p.failOver(r)
			r.awaitDrained()
			servertest.Until(t, "ready again", w.ready)
			require.Equal(t, positions, w.stop().Read)
			r.requireExact()
		})
	}
}

// The host of the primary hangs: its address takes connections, or its connections stay open, and it never answers. The worker
// finds the promoted standby all the same.
func TestFailover_PrimaryHangs(t *testing.T) {
	t.Parallel()
	p, r := newPair(t, true)
	r.config.WriteTimeout = 2 * time.Second
	w := r.start()
	r.publish(500)
	r.awaitDrained()
	servertest.Until(t, "ready", w.ready)
	require.NoError(t, p.primary.Pause())
	require.NoError(t, p.standby.Promote(t.Context()))
	r.publish(500)
	r.database = r.on(p.standby)
	r.awaitDrained()
	servertest.Until(t, "ready again", w.ready)
	l := w.stop()
	require.Equal(t, 1000, l.Read)
	r.requireExact()
	require.NoError(t, p.primary.Kill())
}

// A planned switchover and one back, under load: the former primary follows the new one. A worker that knows both goes on; one that
// knows the demoted server alone waits until that takes writes again, and says what to do.
func TestFailover_SwitchoverAndBack(t *testing.T) {
	t.Parallel()
	p, r := newPair(t, true)
	single := r.config
	single.Consumer, single.Streams, single.Database.URL = "single", []string{servertest.StreamName(t)}, r.database
	both, one := r.start(), startWorker(t, single, nil)
	servertest.Until(t, "ready", func() bool { return both.ready() && one.ready() })
	wait := r.publishing(6000, 1000)
	servertest.Until(t, "positions are being written", func() bool { return both.metric(outcomeInserted) > 500 })

	require.NoError(t, p.primary.StopFast(t.Context()))
	p.failOver(r)
	r.execute(`ALTER SYSTEM SET synchronous_standby_names = 'former'`)
	r.execute(`SELECT pg_reload_conf()`)
	require.NoError(t, p.primary.Follow(p.standby, sandbox.StandbyOptions{Name: "former"}))
	require.NoError(t, p.primary.Restart(t.Context()))
	servertest.Until(t, "the worker that knows both goes on", func() bool {
		return both.ready() && both.metric(outcomeInserted) > 2000
	})
	publisher := fleet.NewPublisher(r.redis, single.Streams[0], 0)
	late := r.record()
	r.published = append(r.published, late.Payload)
	require.NoError(t, publisher.Publish(t.Context(), late))
	servertest.Until(t, "the other one says that its server takes no writes", func() bool {
		for _, line := range one.lines(held) {
			if strings.Contains(fmt.Sprint(line["hint"]), "target_session_attrs=read-write") {
				return true
			}
		}
		return false
	})
	servertest.Until(t, "it is not ready", func() bool { return !one.ready() })
	require.True(t, one.alive())

	former := p.standby
	require.NoError(t, former.StopFast(t.Context()))
	require.NoError(t, p.primary.Promote(t.Context()))
	r.database = r.on(p.primary)
	r.execute(`ALTER SYSTEM RESET synchronous_standby_names`)
	r.execute(`SELECT pg_reload_conf()`)
	wait()
	r.config.Streams = append(r.config.Streams, single.Streams[0])
	r.awaitDrained()
	servertest.Until(t, "ready again", func() bool { return both.ready() && one.ready() })
	require.Equal(t, 6000, both.stop().Read)
	require.Equal(t, 1, one.stop().Read)
	r.requireExact()
}

// PgBouncer between worker and servers: one that is pointed to the promoted standby, or one before each server.
func TestFailover_ThroughPgBouncer(t *testing.T) {
	for name, c := range map[string]struct {
		mode string
		each bool
	}{
		"session mode, pointed to the new primary":     {"session", false},
		"transaction mode, pointed to the new primary": {"transaction", false},
		"session mode, one before each server":         {"session", true},
		"transaction mode, one before each server":     {"transaction", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, r := newPair(t, true)
			first := newPooler(t, r.database, c.mode, 20)
			r.config.Database.URL = first.url
			if c.each {
				second := startPooler(t, r.on(p.standby), c.mode, 20)
				r.config.Database.URL = ofHosts(t, first.url, first.addr, second.addr)
			}
			if c.mode == "transaction" {
				r.config.Database.URL = servertest.WithParameter(t, r.config.Database.URL, "default_query_exec_mode", "cache_describe")
			}
			p.received(r)
			w := r.start()
			servertest.Until(t, "ready", w.ready)
			const positions = 3000
			wait := r.publishing(positions, 1000)
			servertest.Until(t, "positions are being written", func() bool { return w.metric(outcomeInserted) > 500 })
			require.NoError(t, p.primary.Kill())
			p.failOver(r)
			if !c.each {
				first.pointTo(host(t, p.standby))
			}
			wait()
			r.awaitDrained()
			servertest.Until(t, "ready again", w.ready)
			require.Equal(t, positions, w.stop().Read)
			r.requireExact()
		})
	}
}
