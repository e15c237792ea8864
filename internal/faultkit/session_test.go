package faultkit

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
)

// Somebody turns synchronous_commit off for the whole server while the worker is connected. What it acknowledges
// afterwards outlives a crash all the same.
func TestSession_CommitsOutliveACrashAfterAReload(t *testing.T) {
	t.Parallel()
	// The WAL is written late, so that a commit that is not waited for is lost for certain.
	server := servertest.NewPostgres(t, "wal_writer_delay = 10s", "wal_writer_flush_after = 0")
	r := newRigOn(t, servertest.Redis(t), ownDatabase(t, server))
	w := r.start()
	r.publish(50)
	r.awaitDrained()
	servertest.Until(t, "ready", w.ready)

	r.execute(`ALTER SYSTEM SET synchronous_commit = off`)
	r.execute(`SELECT pg_reload_conf()`)
	servertest.Until(t, "new sessions have it", func() bool { return r.ask(`SHOW synchronous_commit`)[0] == "off" })
	for range 20 { // many small transactions: the last ones are in no page that others have written out
		r.publish(50)
		r.awaitDrained()
	}
	require.NoError(t, server.StopImmediate(t.Context()))
	require.NoError(t, server.Restart(t.Context()))
	require.Equal(t, "1050", r.rows())
	servertest.Until(t, "ready again", w.ready)
	require.Equal(t, ledger{Read: 1050, Inserted: 1050, Balanced: true}, w.stop())
	r.requireExact()
}

// Sessions of the role have another encoding: the worker's are UTF-8, from the first byte on.
func TestSession_IsAlwaysUTF8(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	role := r.leastRights()
	r.execute(fmt.Sprintf(`ALTER ROLE %s SET client_encoding = 'LATIN1'`, role))
	r.environ = append(r.environ, "PGCLIENTENCODING=LATIN1")
	r.config.Database.URL = servertest.WithParameter(t, r.config.Database.URL, "client_encoding", "LATIN9")
	for range 20 {
		record := r.record()
		payload := strings.Replace(string(record.Payload), `"attributes":{`, `"attributes":{"Straße":"Müller, 東京 🚚",`, 1)
		require.NotEqual(t, string(record.Payload), payload)
		r.add(payload)
		r.published = append(r.published, []byte(payload))
	}
	w := r.start()
	r.awaitDrained()
	servertest.Until(t, "ready", w.ready)
	require.Equal(t, ledger{Read: 20, Inserted: 20, Balanced: true}, w.stop())
	require.Equal(t, []string{"Müller, 東京 🚚"}, r.ask(`SELECT DISTINCT attributes->>'Straße' FROM positions`))
	r.requireExact()
}

// deactivate makes TimescaleDB inactive in sessions of the database although the extension exists in it: where
// the server has it, by its own setting; elsewhere by the catalog's row of the extension alone. A setting of
// the database that bears the name of TimescaleDB's own must not pass for it.
func deactivate(r *rig, server *sandbox.Postgres) (activate string) {
	r.execute(`ALTER DATABASE telemetry SET timescaledb.restoring = 'off'`)
	if server.HasTimescaleDB() {
		r.config.Database.URL = r.database
		r.database = servertest.WithParameter(r.t, r.database, "options", "-c timescaledb.disable_load=off") // the test goes on to see the chunks
		r.execute(`ALTER DATABASE telemetry SET timescaledb.disable_load = 'on'`)
		return `ALTER DATABASE telemetry RESET timescaledb.disable_load`
	}
	r.execute(`INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
			SELECT 99999, 'timescaledb', oid, 'public'::regnamespace, FALSE, '2.28.3' FROM pg_roles WHERE rolname = current_user;
		CREATE SCHEMA _timescaledb_catalog;
		CREATE TABLE _timescaledb_catalog.hypertable (schema_name name, table_name name);
		INSERT INTO _timescaledb_catalog.hypertable VALUES ('public', 'positions')`)
	return `DELETE FROM pg_extension WHERE extname = 'timescaledb'; DROP SCHEMA _timescaledb_catalog CASCADE`
}

// The server comes back without TimescaleDB: rows would go into the hypertable's own table, where nobody sees
// them once it is back.
func TestSession_WritesNothingWithoutTimescaleDB(t *testing.T) {
	t.Parallel()
	server := servertest.NewPostgres(t)
	r := newRigOn(t, servertest.Redis(t), ownDatabase(t, server))
	w := r.start()
	r.publish(200)
	r.awaitDrained()
	servertest.Until(t, "ready", w.ready)

	activate := deactivate(r, server)
	require.NoError(t, server.StopImmediate(t.Context()))
	require.NoError(t, server.Restart(t.Context()))
	r.publish(200)
	servertest.Until(t, "the schema is not as it should be", func() bool {
		return strings.Contains(w.failing("schema"), "TimescaleDB is not active in this session")
	})
	require.Contains(t, w.failing("schema"), "add timescaledb to shared_preload_libraries")
	servertest.Until(t, "it is tried again", func() bool { return w.metric(`processor_write_errors_total{class="schema"}`) > 4 })
	require.True(t, w.alive())
	require.Equal(t, []string{"200"}, r.ask(`SELECT count(*)::text FROM positions`))
	require.Empty(t, r.letters())

	r.execute(activate)
	r.awaitDrained()
	servertest.Until(t, "ready again", w.ready)
	require.Equal(t, ledger{Read: 400, Inserted: 400, Balanced: true}, w.stop())
	r.requireExact()
	if server.HasTimescaleDB() {
		require.Equal(t, []string{"0"}, r.ask(`SELECT pg_relation_size('positions')::text`), "no row is beside the chunks")
	}
}

// The table changes under a running worker into one that would take rows and lose, double or hide them: nothing is
// written until it is fixed, not even what the statements would still do.
func TestSchema_PausesTheWorker(t *testing.T) {
	for name, c := range map[string]struct{ spoil, fix, problem string }{
		"no key": {
			`ALTER TABLE positions DROP CONSTRAINT positions_pkey`, `ALTER TABLE positions ADD PRIMARY KEY (ts, device_id)`,
			"no valid unique index on exactly (device_id, ts)",
		},
		"unlogged": {`ALTER TABLE positions SET UNLOGGED`, `ALTER TABLE positions SET LOGGED`, "is UNLOGGED"},
		"a second table before it": {
			`CREATE SCHEMA postgres; CREATE TABLE postgres.positions (LIKE public.positions INCLUDING ALL)`, `DROP SCHEMA postgres CASCADE`,
			"several positions, in the schemas postgres, public",
		},
		"a view over it": {
			`ALTER TABLE positions RENAME TO stored; CREATE VIEW positions AS SELECT * FROM stored`, `DROP VIEW positions; ALTER TABLE stored RENAME TO positions`,
			"is a view, not a table",
		},
		"attributes in another type": {
			`ALTER TABLE positions ALTER attributes TYPE json`, `ALTER TABLE positions ALTER attributes TYPE jsonb`,
			"column attributes is json, not jsonb",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newPlainRig(t)
			w := r.start()
			r.publish(200)
			r.awaitDrained()
			servertest.Until(t, "ready", w.ready)

			r.execute(c.spoil)
			servertest.Until(t, "not ready", func() bool { return !w.ready() })
			require.Contains(t, w.failing("schema"), "class schema: ")
			require.Contains(t, w.failing("schema"), c.problem)
			require.Contains(t, w.failing("schema"), "Fix: ")
			inserted := w.metric(`processor_positions_total{outcome="inserted"}`)
			for _, payload := range r.published[:100] { // as fresh entries
				r.add(string(payload))
			}
			r.publish(200)
			servertest.Until(t, "it is tried again", func() bool { return w.metric(`processor_write_errors_total{class="schema"}`) > 4 })
			require.Equal(t, inserted, w.metric(`processor_positions_total{outcome="inserted"}`))
			require.True(t, w.alive())
			require.False(t, w.ready())
			require.Empty(t, r.letters())

			r.execute(c.fix)
			r.awaitDrained()
			servertest.Until(t, "ready again", w.ready)
			require.Equal(t, ledger{Read: 500, Inserted: 400, Unchanged: 100, Balanced: true}, w.stop())
			r.requireExact()
		})
	}
}

// An outage of the server says nothing about the schema.
func TestSchema_IsNotBlamedForAnOutage(t *testing.T) {
	t.Parallel()
	server := servertest.NewPostgres(t)
	r := newRigOn(t, servertest.Redis(t), ownDatabase(t, server))
	w := r.start()
	r.publish(100)
	r.awaitDrained()
	servertest.Until(t, "ready", w.ready)
	require.NoError(t, server.StopImmediate(t.Context()))
	servertest.Until(t, "readiness names PostgreSQL", func() bool { return w.failing("postgres") != "" })
	r.publish(100)
	servertest.Until(t, "the writers have noticed", func() bool { return w.metric(`processor_write_errors_total{class="unavailable"}`) > 2 })
	require.Empty(t, w.failing("schema"))
	require.Zero(t, w.metric(`processor_write_errors_total{class="schema"}`))
	require.Positive(t, w.metric(`processor_batches_held{class="unavailable"}`))
	require.Equal(t, w.metric("processor_batches_held"), w.metric(`processor_batches_held{class="unavailable"}`))
	require.NoError(t, server.Restart(t.Context()))
	r.awaitDrained()
	servertest.Until(t, "ready again", w.ready)
	w.stop()

	// A worker that starts during an outage cannot know the schema: its check has no series.
	require.NoError(t, server.StopImmediate(t.Context()))
	r.publish(100)
	w = r.start()
	servertest.Until(t, "readiness names PostgreSQL", func() bool { return strings.Contains(w.failing("postgres"), "refused") })
	require.Equal(t, "not checked yet", w.failing("schema"))
	_, text := w.get("/metrics")
	require.Contains(t, text, `processor_check_ok{check="postgres"} 0`)
	require.NotContains(t, text, `processor_check_ok{check="schema"}`)
	require.NoError(t, server.Restart(t.Context()))
	r.awaitDrained()
	servertest.Until(t, "ready again", w.ready)
	require.Equal(t, 1.0, w.metric(`processor_check_ok{check="schema"}`))
	require.Zero(t, w.metric("processor_batches_held"))
	require.InDelta(t, time.Now().Unix(), w.metric("processor_stream_last_commit_timestamp_seconds"), 600)
	w.stop()
	r.requireExact()
}

// A server connection of PgBouncer in transaction mode belongs to nobody: what one session sets, another
// transaction may not have. The worker refuses to write where the default would lose commits.
func TestPooler_WithCommitsThatMayBeLost(t *testing.T) {
	t.Parallel()
	r := newRigOn(t, servertest.Redis(t), ownDatabase(t, servertest.NewPostgres(t)))
	r.execute(`ALTER DATABASE telemetry SET synchronous_commit = off`)
	r.config.Database.URL = servertest.WithParameter(t, pooler(t, r.database, "transaction", 2), "default_query_exec_mode", "cache_describe")
	r.publish(100)
	w := r.start()
	servertest.Until(t, "it is refused", func() bool { return strings.Contains(w.failing("schema"), "a pooler in between may not keep") })
	require.False(t, w.ready())
	require.Equal(t, "0", r.rows())

	r.execute(`ALTER DATABASE telemetry RESET synchronous_commit`)
	r.execute(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	r.awaitDrained()
	servertest.Until(t, "ready", w.ready)
	w.stop()
	r.requireExact()
}
