package schema_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/schema"
	"processor/internal/servertest"
	"processor/internal/store"
)

// session opens one as the worker does.
func session(t testing.TB, url string) *pgx.Conn {
	config, err := schema.Config(url)
	require.NoError(t, err)
	conn, err := pgx.ConnectConfig(t.Context(), config.ConnConfig)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	require.NoError(t, schema.Prepare(t.Context(), conn))
	return conn
}

// settings returns what the session has, in the order of the names.
func settings(t testing.TB, conn *pgx.Conn, names ...string) []string {
	rows, err := conn.Query(t.Context(), `SELECT current_setting(n) FROM unnest($1::text[]) WITH ORDINALITY AS u(n, i) ORDER BY i`, names)
	require.NoError(t, err)
	values, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return values
}

// ownServer is a server of the test's own with a migrated database.
func ownServer(t testing.TB, conf ...string) (server *sandbox.Postgres, url string) {
	server = servertest.NewPostgres(t, conf...)
	require.NoError(t, server.CreateDatabase(t.Context(), "telemetry"))
	url = server.URL("telemetry")
	if server.HasTimescaleDB() {
		require.NoError(t, server.EnableTimescaleDB(t.Context(), "telemetry"))
	} else {
		var err error
		url, err = sandbox.PlainTableURL(url)
		require.NoError(t, err)
	}
	require.NoError(t, schema.MigrateUp(t.Context(), url))
	return server, url
}

// Whatever the server, the database, the role and the URL say when the session opens, and whatever is reloaded
// afterwards: commits are on disk when they are confirmed, text is UTF-8, positions stays the table that was
// checked, and the upsert sees what others commit.
func TestPrepare_PinsTheSession(t *testing.T) {
	names := []string{"synchronous_commit", "client_encoding", "search_path", "default_transaction_isolation"}
	pinned := []string{"on", "UTF8", `"$user", public`, "read committed"}
	_, url := ownServer(t)
	database := "ALTER DATABASE telemetry SET "
	for _, c := range []struct {
		says, reset string
		url         func() string
		want        []string
	}{
		{says: "SELECT", want: pinned},
		{says: database + "synchronous_commit = off", reset: "ALTER DATABASE telemetry RESET synchronous_commit", want: pinned},
		{says: database + "synchronous_commit = local", reset: "ALTER DATABASE telemetry RESET synchronous_commit", want: []string{"local", pinned[1], pinned[2], pinned[3]}},
		{says: "ALTER ROLE postgres SET synchronous_commit = remote_write", reset: "ALTER ROLE postgres RESET synchronous_commit", want: []string{"remote_write", pinned[1], pinned[2], pinned[3]}},
		{says: "ALTER ROLE postgres IN DATABASE telemetry SET synchronous_commit = remote_apply", reset: "ALTER ROLE postgres IN DATABASE telemetry RESET synchronous_commit", want: []string{"remote_apply", pinned[1], pinned[2], pinned[3]}},
		{says: "ALTER ROLE postgres SET client_encoding = 'LATIN1'", reset: "ALTER ROLE postgres RESET client_encoding", want: pinned},
		{says: database + "client_encoding = 'SQL_ASCII'", reset: "ALTER DATABASE telemetry RESET client_encoding", want: pinned},
		{says: "SELECT", url: func() string { return servertest.WithParameter(t, url, "client_encoding", "LATIN1") }, want: pinned},
		{says: "SELECT", url: func() string {
			return servertest.WithParameter(t, url, "options", "-c client_encoding=LATIN1 -c synchronous_commit=off -c processor.allow_plain_table=on")
		}, want: pinned},
		{says: database + "default_transaction_isolation = 'serializable'", reset: "ALTER DATABASE telemetry RESET default_transaction_isolation", want: pinned},
	} {
		servertest.Execute(t, url, c.says)
		target := url
		if c.url != nil {
			target = c.url()
		}
		conn := session(t, target)
		require.Equal(t, c.want, settings(t, conn, names...), c.says)

		// What is reloaded changes other sessions, not this one.
		other := servertest.Connect(t, url)
		for _, changed := range []string{"synchronous_commit = off", "search_path = elsewhere", "default_transaction_isolation = 'serializable'", "client_encoding = 'LATIN1'"} {
			_, err := other.Exec(t.Context(), "ALTER SYSTEM SET "+changed)
			require.NoError(t, err)
		}
		_, err := other.Exec(t.Context(), "SELECT pg_reload_conf()")
		require.NoError(t, err)
		fresh := func() []string {
			probe, err := pgx.Connect(t.Context(), servertest.WithParameter(t, url, "options", ""))
			require.NoError(t, err)
			defer probe.Close(t.Context())
			return settings(t, probe, "search_path")
		}
		servertest.Until(t, "the configuration is reloaded", func() bool { return fresh()[0] == "elsewhere" })
		_, err = conn.Exec(t.Context(), "SELECT 1") // a session reads the configuration between two statements
		require.NoError(t, err)
		require.Equal(t, c.want, settings(t, conn, names...), "%s, reloaded", c.says)

		_, err = other.Exec(t.Context(), "ALTER SYSTEM RESET ALL")
		require.NoError(t, err)
		_, err = other.Exec(t.Context(), "SELECT pg_reload_conf()")
		require.NoError(t, err)
		servertest.Until(t, "the configuration is reset", func() bool { return fresh()[0] != "elsewhere" })
		if c.reset != "" {
			servertest.Execute(t, url, c.reset)
		}
	}
}

// PGCLIENTENCODING is read by other clients of the same environment too.
func TestPrepare_IgnoresTheEnvironmentsEncoding(t *testing.T) {
	url := servertest.Migrated(t)
	t.Setenv("PGCLIENTENCODING", "LATIN1")
	require.Equal(t, []string{"UTF8"}, settings(t, session(t, url), "client_encoding"))
	require.NoError(t, schema.MigrateUp(t.Context(), url))
}

// plain is a database of the test's own with a plain table, whatever the server has.
func plain(t testing.TB) string {
	url, err := sandbox.PlainTableURL(servertest.Database(t))
	require.NoError(t, err)
	require.NoError(t, schema.MigrateUp(t.Context(), url))
	return url
}

// spoiled is one way in which the table is not as the worker needs it.
type spoiled struct {
	spoil, fix string
	problem    string // a part of it
}

func spoiledTables() map[string]spoiled {
	const key = "no valid unique index on exactly (device_id, ts)"
	drop := "ALTER TABLE positions DROP CONSTRAINT positions_pkey;"
	restore := "ALTER TABLE positions ADD CONSTRAINT positions_pkey PRIMARY KEY (device_id, ts)"
	return map[string]spoiled{
		"no table":                          {"ALTER TABLE positions RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO positions", "there is no table positions"},
		"no schema in the path":             {"CREATE SCHEMA other; ALTER TABLE positions SET SCHEMA other", "ALTER TABLE other.positions SET SCHEMA public; DROP SCHEMA other", "there is no table positions"},
		"a view":                            {"ALTER TABLE positions RENAME TO elsewhere; CREATE VIEW positions AS SELECT * FROM elsewhere", "DROP VIEW positions; ALTER TABLE elsewhere RENAME TO positions", "is a view, not a table"},
		"a materialized view":               {"ALTER TABLE positions RENAME TO elsewhere; CREATE MATERIALIZED VIEW positions AS SELECT * FROM elsewhere", "DROP MATERIALIZED VIEW positions; ALTER TABLE elsewhere RENAME TO positions", "is a materialized view"},
		"a foreign table":                   {"ALTER TABLE positions RENAME TO elsewhere; CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE positions (device_id text) SERVER s", "DROP FOREIGN DATA WRAPPER w CASCADE; ALTER TABLE elsewhere RENAME TO positions", "is a foreign table"},
		"a partitioned table":               {"ALTER TABLE positions RENAME TO elsewhere; CREATE TABLE positions (LIKE elsewhere) PARTITION BY RANGE (ts)", "DROP TABLE positions; ALTER TABLE elsewhere RENAME TO positions", "is a partitioned table"},
		"a sequence":                        {"ALTER TABLE positions RENAME TO elsewhere; CREATE SEQUENCE positions", "DROP SEQUENCE positions; ALTER TABLE elsewhere RENAME TO positions", "is a sequence"},
		"a second one before it":            {`CREATE SCHEMA "postgres"; CREATE TABLE "postgres".positions (LIKE positions INCLUDING ALL)`, `DROP SCHEMA "postgres" CASCADE`, "several positions, in the schemas postgres, public"},
		"a rule":                            {"CREATE RULE away AS ON INSERT TO positions DO INSTEAD NOTHING", "DROP RULE away ON positions", "has a rule for INSERT or UPDATE"},
		"a rule for UPDATE":                 {"CREATE RULE away AS ON UPDATE TO positions DO INSTEAD NOTHING", "DROP RULE away ON positions", "has a rule for INSERT or UPDATE"},
		"no key":                            {drop, restore, key},
		"a key on another column":           {drop + "ALTER TABLE positions ADD PRIMARY KEY (device_id, ts, latitude)", "ALTER TABLE positions DROP CONSTRAINT positions_pkey; " + restore, key},
		"a deferrable key":                  {drop + "ALTER TABLE positions ADD CONSTRAINT k UNIQUE (device_id, ts) DEFERRABLE", "ALTER TABLE positions DROP CONSTRAINT k; " + restore, key},
		"a deferrable key beside the other": {"ALTER TABLE positions ADD CONSTRAINT k UNIQUE (device_id, ts) DEFERRABLE", "ALTER TABLE positions DROP CONSTRAINT k", key},
		"a partial index":                   {drop + "CREATE UNIQUE INDEX k ON positions (device_id, ts) WHERE speed > 0", "DROP INDEX k; " + restore, key},
		"an index on expressions":           {drop + "CREATE UNIQUE INDEX k ON positions (lower(device_id), ts)", "DROP INDEX k; " + restore, key},
		"an index that is not unique":       {drop + "CREATE INDEX k ON positions (device_id, ts)", "DROP INDEX k; " + restore, key},
		"an invalid index":                  {drop + "CREATE UNIQUE INDEX k ON positions (device_id, ts); UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'k'::regclass", "DROP INDEX k; " + restore, key},
		"a collation that takes different devices for one": {
			drop + "CREATE COLLATION IF NOT EXISTS blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false); CREATE UNIQUE INDEX k ON positions (device_id COLLATE blind, ts)",
			"DROP INDEX k; " + restore, key},
		"a missing column":                      {"ALTER TABLE positions RENAME speed TO velocity", "ALTER TABLE positions RENAME velocity TO speed", "column speed is missing"},
		"no ingested_at":                        {"ALTER TABLE positions RENAME ingested_at TO written", "ALTER TABLE positions RENAME written TO ingested_at", "column ingested_at is missing"},
		"json":                                  {"ALTER TABLE positions ALTER attributes TYPE json", "ALTER TABLE positions ALTER attributes TYPE jsonb", "column attributes is json, not jsonb"},
		"a type that loses":                     {"ALTER TABLE positions ALTER latitude TYPE real", "ALTER TABLE positions ALTER latitude TYPE double precision", "column latitude is real, not double precision"},
		"a time without zone":                   {drop + "ALTER TABLE positions DROP COLUMN ts, ADD COLUMN ts timestamp NOT NULL; " + restore, "ALTER TABLE positions DROP COLUMN ts, ADD COLUMN ts timestamptz NOT NULL; " + restore, "column ts is timestamp without time zone"},
		"a length":                              {"ALTER TABLE positions ALTER device_id TYPE varchar(5)", "ALTER TABLE positions ALTER device_id TYPE text", "column device_id is character varying(5), not text"},
		"a domain":                              {"CREATE DOMAIN kmh AS real; ALTER TABLE positions ALTER speed TYPE kmh", "ALTER TABLE positions ALTER speed TYPE real; DROP DOMAIN kmh", "column speed is kmh, not real"},
		"a generated column":                    {"ALTER TABLE positions DROP COLUMN speed; ALTER TABLE positions ADD COLUMN speed real GENERATED ALWAYS AS (latitude) STORED", "ALTER TABLE positions ALTER speed DROP EXPRESSION", "column speed is GENERATED"},
		"a column to be written":                {"ALTER TABLE positions ADD COLUMN owner text NOT NULL", "ALTER TABLE positions ALTER owner SET DEFAULT ''", "column owner is NOT NULL without a default"},
		"a column of a domain that is not null": {"CREATE DOMAIN must AS text NOT NULL; ALTER TABLE positions ADD COLUMN tenant must", "ALTER TABLE positions DROP COLUMN tenant; DROP DOMAIN must", "column tenant is NOT NULL without a default"},
		"unlogged":                              {"ALTER TABLE positions SET UNLOGGED", "ALTER TABLE positions SET LOGGED", "is UNLOGGED"},
	}
}

// Each of these loses, doubles, changes or refuses rows. A new session is refused, one that is open finds it, and
// both are content when it is fixed.
func TestCheck_FindsWhatIsWrongWithTheTable(t *testing.T) {
	url := plain(t) // a hypertable refuses some of these
	for name, c := range spoiledTables() {
		t.Run(name, func(t *testing.T) {
			conn := session(t, url)
			servertest.Execute(t, url, c.spoil)
			_, err := schema.Check(t.Context(), conn)
			requireProblem(t, err, c.problem)
			requireProblem(t, schema.Prepare(t.Context(), servertest.Connect(t, url)), c.problem)

			servertest.Execute(t, url, c.fix)
			_, err = schema.Check(t.Context(), conn)
			require.NoError(t, err)
			session(t, url)
		})
	}
}

func requireProblem(t testing.TB, err error, problem string) {
	t.Helper()
	var found *store.SchemaError
	require.ErrorAs(t, err, &found)
	require.Contains(t, found.Problem, problem)
	require.NotEmpty(t, found.Fix)
	require.Equal(t, "class schema: "+found.Problem+". Fix: "+found.Fix, found.Public())
	require.Equal(t, store.Schema, store.Classify(fmt.Errorf("write: %w", err)))
	require.Equal(t, found.Fix, store.Hint(err))
}

// A temporary table comes first in every search path, but only in its session.
func TestCheck_FindsATemporaryTable(t *testing.T) {
	url := servertest.Migrated(t)
	conn := session(t, url)
	_, err := conn.Exec(t.Context(), "CREATE TEMPORARY TABLE positions (LIKE positions INCLUDING ALL)")
	require.NoError(t, err)
	_, err = schema.Check(t.Context(), conn)
	requireProblem(t, err, "is a temporary table")
	requireProblem(t, err, "several positions, in the schemas pg_temp_")
	session(t, url)
	_, err = conn.Exec(t.Context(), "DROP TABLE positions")
	require.NoError(t, err)
	_, err = schema.Check(t.Context(), conn)
	require.NoError(t, err)
}

// What keeps one row a key is as good as the primary key of the migration.
func TestCheck_AcceptsEveryKeyThatServes(t *testing.T) {
	for name, key := range map[string]string{
		"a unique constraint":   "ALTER TABLE positions ADD CONSTRAINT k UNIQUE (device_id, ts)",
		"the other order":       "ALTER TABLE positions ADD PRIMARY KEY (ts, device_id)",
		"a unique index":        "CREATE UNIQUE INDEX k ON positions (device_id, ts DESC)",
		"one that carries more": "CREATE UNIQUE INDEX k ON positions (device_id, ts) INCLUDE (speed)",
		"among others":          "CREATE INDEX i ON positions (ts); CREATE UNIQUE INDEX k ON positions (ts DESC, device_id); CREATE UNIQUE INDEX p ON positions (device_id, ts) WHERE speed > 0",
	} {
		t.Run(name, func(t *testing.T) {
			url := plain(t)
			servertest.Execute(t, url, "ALTER TABLE positions DROP CONSTRAINT positions_pkey; "+key)
			session(t, url)
			servertest.Execute(t, url, `INSERT INTO positions SELECT 'a', 'epoch', 0, 0, 0, 0, 0, 0, 0, '{}' ON CONFLICT (device_id, ts) DO UPDATE SET attributes = excluded.attributes`)
		})
	}
}

// Wider types hold each value, and the upsert converts: no reason to stop.
func TestCheck_AcceptsWiderColumns(t *testing.T) {
	url := plain(t)
	servertest.Execute(t, url, `ALTER TABLE positions ALTER satellites TYPE integer, ALTER priority TYPE bigint, ALTER speed TYPE double precision, ALTER device_id TYPE varchar,
		ADD COLUMN note text, ADD COLUMN fine text NOT NULL DEFAULT '', ADD COLUMN row bigint GENERATED ALWAYS AS IDENTITY, ADD COLUMN made real GENERATED ALWAYS AS (speed) STORED`)
	session(t, url)
}

func TestCheck_FindsMissingRights(t *testing.T) {
	_, url := ownServer(t)
	servertest.Execute(t, url, "CREATE ROLE worker LOGIN; GRANT SELECT, INSERT ON positions TO worker")
	limited := servertest.WithParameter(t, url, "options", "-c role=worker -c processor.allow_plain_table=on")
	conn := servertest.Connect(t, limited)
	requireProblem(t, schema.Prepare(t.Context(), conn), "role worker lacks UPDATE on positions")
	servertest.Execute(t, url, "GRANT UPDATE ON positions TO worker")
	require.NoError(t, schema.Prepare(t.Context(), conn))
	servertest.Execute(t, url, "REVOKE USAGE ON SCHEMA public FROM PUBLIC")
	requireProblem(t, schema.Prepare(t.Context(), conn), "there is no table positions in the search path of role worker")
}

// The check runs every two seconds, on a table with thousands of chunks, with room for a few locks.
func TestCheck_TakesNoLockOnTheTable(t *testing.T) {
	url := servertest.Migrated(t)
	chunks := `SELECT 'child' FROM generate_series(1, 200)`
	if servertest.HasTimescaleDB(t) {
		servertest.Execute(t, url, `INSERT INTO positions SELECT 'a', now() - d * INTERVAL '1 day', 0, 0, 0, 0, 0, 0, 0, '{}' FROM generate_series(1, 200) AS d`)
	} else {
		servertest.Execute(t, url, `DO $$ BEGIN FOR n IN 1..200 LOOP EXECUTE 'CREATE TABLE c' || n || ' () INHERITS (positions)'; END LOOP; END $$`)
	}
	require.Len(t, servertest.Ask(t, url, chunks), 200)
	require.Equal(t, []string{"200"}, servertest.Ask(t, url, `SELECT count(*)::text FROM pg_inherits WHERE inhparent = 'positions'::regclass`))
	conn := session(t, url)
	// A lock that conflicts with any other: a check that wanted one on the table would wait.
	holder := servertest.Connect(t, url)
	_, err := holder.Exec(t.Context(), "BEGIN; LOCK TABLE ONLY positions IN ACCESS EXCLUSIVE MODE")
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "BEGIN; SET LOCAL lock_timeout = '5s'")
	require.NoError(t, err)
	_, err = schema.Check(t.Context(), conn)
	require.NoError(t, err)
	var locked []string
	rows, err := conn.Query(t.Context(), `SELECT DISTINCT relation::regclass::text FROM pg_locks WHERE pid = pg_backend_pid() AND relation >= 16384 AND relation::regclass::text !~ '_timescaledb_catalog' ORDER BY 1`)
	require.NoError(t, err)
	locked, err = pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Empty(t, locked)
	_, err = conn.Exec(t.Context(), "COMMIT")
	require.NoError(t, err)
	_, err = holder.Exec(t.Context(), "ROLLBACK")
	require.NoError(t, err)
}

// An error that is none of the schema says nothing about it.
func TestCheck_IsNoVerdictWhereItCannotAsk(t *testing.T) {
	server, url := ownServer(t)
	conn := session(t, url)
	require.NoError(t, server.StopImmediate(t.Context()))
	_, err := schema.Check(t.Context(), conn)
	require.Error(t, err)
	var found *store.SchemaError
	require.False(t, errors.As(err, &found))
	require.False(t, strings.Contains(err.Error(), "positions is"))
}
