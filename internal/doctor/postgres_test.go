package doctor

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"processor/internal/inspect"
	"processor/internal/sandbox"
	"processor/internal/schema"
	"processor/internal/servertest"
)

func check(t *testing.T, databaseURL string) []string {
	return summary(Postgres(t.Context(), databaseURL, Scope{}))
}

func edit(t *testing.T, databaseURL string, change func(u *url.URL, query url.Values)) string {
	u, err := url.Parse(databaseURL)
	require.NoError(t, err)
	query := u.Query()
	change(u, query)
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	return u.String()
}

func TestPostgres_IsContentWithWhatTheMigrationsMake(t *testing.T) {
	databaseURL := servertest.Migrated(t)
	role := servertest.Ask(t, databaseURL, "SELECT current_user")[0]
	want := []string{
		fmt.Sprintf("ok connection: answers: database %s as role %s", servertest.Ask(t, databaseURL, "SELECT current_database()")[0], role),
		"ok version: PostgreSQL " + servertest.Ask(t, databaseURL, "SHOW server_version")[0],
		"ok writable: takes writes",
		"ok durability: synchronous_commit on",
		"ok pooler: none in between",
		"ok columns: all 10 are there, with the right types",
	}
	if servertest.HasTimescaleDB(t) {
		version := servertest.Ask(t, databaseURL, "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")[0]
		want = append(want, "ok timescaledb: TimescaleDB "+version, "ok hypertable: positions is a hypertable")
	} else {
		want = append(want, "warning hypertable: positions is a plain table: no chunks, no compression, no retention by chunk; processor.allow_plain_table allows it. Fix: none if that is meant")
	}
	want = append(want,
		"ok primary key: (device_id, ts)",
		"ok rights: role "+role+" may SELECT, INSERT and UPDATE positions")
	if servertest.HasTimescaleDB(t) {
		want = append(want, "ok background jobs: …")
	}
	require.Equal(t, append(want,
		"ok disk: …",
		"ok migrations: all applied",
		"ok clock: …",
		"ok write: a row could be written (rolled back)",
	), check(t, databaseURL))
}

func TestPostgres_ReadOnlyTriesNoRow(t *testing.T) {
	databaseURL := servertest.Migrated(t)
	tried := check(t, databaseURL)
	require.Contains(t, tried, "ok write: a row could be written (rolled back)")
	require.Equal(t, tried[:len(tried)-1], summary(Postgres(t.Context(), databaseURL, Scope{ReadOnly: true})))
}

func TestPostgres_KnowsARealHypertable(t *testing.T) {
	databaseURL := servertest.TimescaleDB(t)
	servertest.Execute(t, databaseURL, "CREATE EXTENSION IF NOT EXISTS timescaledb")
	require.NoError(t, schema.MigrateUp(t.Context(), databaseURL))
	found := check(t, databaseURL)
	require.Contains(t, found, "ok hypertable: positions is a hypertable")
	require.Contains(t, found, "ok primary key: (device_id, ts)")
	require.Contains(t, strings.Join(found, "\n"), "ok timescaledb: TimescaleDB 2.")
}

const noKey = "failed primary key: positions has no valid unique index on exactly (device_id, ts), so that a redelivered position would be a second row, or fail. " +
	"Fix: remove rows whose key is there twice, then give positions the primary key (device_id, ts)"

// simulated is what the catalog holds of an extension that the server does not load.
const simulated = `INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
		SELECT 99999, 'timescaledb', oid, 'public'::regnamespace, FALSE, '2.28.3' FROM pg_roles WHERE rolname = current_user;
	CREATE SCHEMA _timescaledb_catalog;
	CREATE TABLE _timescaledb_catalog.hypertable (schema_name name, table_name name);
	INSERT INTO _timescaledb_catalog.hypertable VALUES ('public', 'positions')`

func TestPostgres_FindsWhatIsWrong(t *testing.T) {
	cases := map[string]struct {
		statements []string
		want       []string
	}{
		"a column is gone": {[]string{"ALTER TABLE positions DROP COLUMN speed"}, []string{
			"failed columns: column speed is missing. Fix: add column speed of type real",
		}},
		"types have changed": {[]string{"ALTER TABLE positions ALTER satellites TYPE integer, ALTER attributes TYPE text"}, []string{
			"failed columns: column attributes is text, not jsonb. Fix: give column attributes the type jsonb",
		}},
		"types are wider": {[]string{"ALTER TABLE positions ALTER satellites TYPE integer"}, []string{
			"warning columns: column satellites is integer, not smallint: it holds each value, but COPY cannot be used, only the slower upsert. Fix: give column satellites the type smallint",
		}},
		"identifiers in a locale's order": {[]string{`ALTER TABLE positions ALTER device_id TYPE text COLLATE "POSIX"`}, []string{
			`warning columns: column device_id has the collation POSIX, not C: an upgrade of the locale library can damage the index. Fix: give column device_id the collation "C"`,
		}},
		"a column must be written": {[]string{"ALTER TABLE positions ADD COLUMN owner text NOT NULL, ADD COLUMN fine text NOT NULL DEFAULT ''"}, []string{
			"failed columns: column owner is NOT NULL without a default, so that no row can be written. Fix: let column owner be null, or give it a default",
		}},
		"no primary key": {[]string{"ALTER TABLE positions DROP CONSTRAINT positions_pkey"}, []string{
			noKey,
		}},
		"another primary key":        {[]string{"ALTER TABLE positions DROP CONSTRAINT positions_pkey, ADD PRIMARY KEY (ts, device_id, latitude)"}, []string{noKey}},
		"the key in the other order": {[]string{"ALTER TABLE positions DROP CONSTRAINT positions_pkey", "CREATE UNIQUE INDEX k ON positions (ts, device_id)"}, nil},
		"unlogged": {[]string{"ALTER TABLE positions SET UNLOGGED"}, []string{
			"failed table: positions is UNLOGGED: PostgreSQL empties it after a crash. Fix: set positions LOGGED",
		}},
		"a view": {[]string{"ALTER TABLE positions RENAME TO stored", "CREATE VIEW positions AS SELECT * FROM stored"}, []string{
			"failed table: positions is a view, not a table. Fix: rename it, and run processor migrate up",
		}},
		"triggers that do nothing": {[]string{"ALTER DATABASE :database SET session_replication_role = replica"}, []string{
			"warning triggers: session_replication_role is replica: triggers and foreign keys of positions do nothing. Fix: session_replication_role = origin for role, database or server",
		}},
		"an inactive TimescaleDB": {[]string{"TRUNCATE positions", simulated}, []string{
			"failed timescaledb: the database has the extension timescaledb, but TimescaleDB is not active in this session: rows would go past the hypertable and not be seen. Fix: add timescaledb to shared_preload_libraries and restart PostgreSQL; timescaledb.disable_load must be off",
			"ok hypertable: positions is a hypertable",
		}},
		"read-only": {[]string{"ALTER DATABASE :database SET default_transaction_read_only = on"}, []string{
			"failed writable: transactions are read-only. Fix: default_transaction_read_only = off for role, database or server",
		}},
		"commits that may be lost": {[]string{"ALTER DATABASE :database SET synchronous_commit = off"}, []string{
			"warning durability: synchronous_commit is off for this role: the worker turns it on in its sessions, but a pooler in between may not keep that, and a crash of the server would lose acknowledged positions. Fix: synchronous_commit = on for role, database or server",
		}},
		"no table": {[]string{"DROP TABLE positions"}, []string{
			"failed table: there is no table positions in the search path of role :role. Fix: run processor migrate up; where it finds nothing to do, the table was dropped or renamed, or the role lacks USAGE on its schema or has another search_path",
		}},
		"no migrations table": {[]string{"DROP TABLE processor_schema_migrations"}, []string{
			"failed migrations: not applied: 20261123000001_create_positions.sql, 20261123000002_positions_columnstore.sql. Fix: run processor migrate up",
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			databaseURL, err := sandbox.PlainTableURL(servertest.Database(t)) // a hypertable refuses some of these
			require.NoError(t, err)
			require.NoError(t, schema.MigrateUp(t.Context(), databaseURL))
			before := check(t, databaseURL)
			names := strings.NewReplacer(":database", servertest.Ask(t, databaseURL, "SELECT current_database()")[0], ":role", servertest.Ask(t, databaseURL, "SELECT current_user")[0])
			for _, s := range c.statements {
				servertest.Execute(t, databaseURL, names.Replace(s))
			}
			for i := range c.want {
				c.want[i] = names.Replace(c.want[i])
			}
			require.Equal(t, c.want, changed(before, check(t, databaseURL)))
		})
	}
}

func TestPostgres_RefusesAPlainTableThatNobodyAskedFor(t *testing.T) {
	allowed, err := sandbox.PlainTableURL(servertest.Database(t))
	require.NoError(t, err)
	require.NoError(t, schema.MigrateUp(t.Context(), allowed))
	strict := edit(t, allowed, func(_ *url.URL, query url.Values) { query.Del("options") })
	const plain = "hypertable: positions is a plain table: no chunks, no compression, no retention by chunk"
	require.Contains(t, check(t, allowed), "warning "+plain+"; processor.allow_plain_table allows it. Fix: none if that is meant")
	require.Contains(t, check(t, strict), "failed "+plain+", since the database has no TimescaleDB. Fix: enable the extension timescaledb in this database, then "+hintPlain)
}

func TestPostgres_ChecksRights(t *testing.T) {
	databaseURL := servertest.Migrated(t)
	role := "doctor_" + strings.ToLower(rand.Text())
	servertest.Execute(t, databaseURL, "CREATE ROLE "+role+" LOGIN PASSWORD 'topsecret'", "GRANT SELECT, INSERT ON positions TO "+role)
	defer servertest.Execute(t, databaseURL, "DROP OWNED BY "+role, "DROP ROLE "+role)
	limited := edit(t, databaseURL, func(u *url.URL, _ url.Values) { u.User = url.UserPassword(role, "topsecret") })

	found := check(t, limited)
	require.Contains(t, found, fmt.Sprintf(`failed rights: role %s lacks UPDATE on positions. Fix: as the owner of positions: GRANT UPDATE ON positions TO %s`, role, role))
	require.Contains(t, found, fmt.Sprintf(`warning migrations: could not check: needs SELECT on processor_schema_migrations. Fix: as the owner of positions: GRANT SELECT ON processor_schema_migrations TO %s`, role))
	require.Contains(t, found, "ok primary key: (device_id, ts)")

	servertest.Execute(t, databaseURL, "GRANT UPDATE ON positions TO "+role, "GRANT SELECT ON processor_schema_migrations TO "+role)
	require.NotContains(t, strings.Join(check(t, limited), "\n"), "failed")
}

func TestPostgres_KnowsAStandby(t *testing.T) {
	server := servertest.NewPostgres(t)
	directory := servertest.Ask(t, server.URL("postgres"), "SHOW data_directory")[0]
	require.NoError(t, os.WriteFile(filepath.Join(directory, "standby.signal"), nil, 0o644))
	require.NoError(t, server.Restart(t.Context()))
	require.Contains(t, check(t, server.URL("postgres")),
		"failed writable: is a standby, which takes no writes. Fix: name the primary in DATABASE_URL, or all servers with target_session_attrs=read-write")
}

func TestPostgres_SaysWhyItCannotConnect(t *testing.T) {
	databaseURL := edit(t, servertest.Database(t), func(_ *url.URL, query url.Values) { query.Del("options") })
	cases := map[string]struct {
		url  string
		want []string
	}{
		"nobody listens": {edit(t, databaseURL, func(u *url.URL, _ url.Values) { u.Host = "127.0.0.1:1" }),
			[]string{"connection refused", "Fix: start PostgreSQL, or correct host and port in DATABASE_URL"}},
		"no such database": {edit(t, databaseURL, func(u *url.URL, _ url.Values) { u.Path = "absent" }),
			[]string{"3D000", "Fix: create the database, or name another in DATABASE_URL"}},
		"no such role": {edit(t, databaseURL, func(u *url.URL, _ url.Values) { u.User = url.UserPassword("absent", "topsecret") }),
			[]string{"28", "Fix: correct the role and password in DATABASE_URL"}},
	}
	for name, c := range cases {
		found := check(t, c.url)
		require.Len(t, found, 1, name)
		require.Contains(t, found[0], "failed connection: ", name)
		for _, part := range c.want {
			require.Contains(t, found[0], part, name)
		}
	}
}

func TestPostgres_KnowsTheModeOfAPooler(t *testing.T) {
	databaseURL := edit(t, servertest.Migrated(t), func(_ *url.URL, query url.Values) { query.Del("options") })
	const migrate = "; processor migrate needs a connection without it"
	cases := map[string]struct {
		config   string
		execMode string
		want     string
	}{
		"session mode": {"pool_mode = session", "", "ok pooler: in between, session mode"},
		"transaction mode": {"pool_mode = transaction", "", "failed pooler: in between, transaction mode, does not keep prepared statements: writing fails with 42P05 or 26000. " +
			"Fix: add default_query_exec_mode=cache_describe to DATABASE_URL, or set max_prepared_statements in pgbouncer.ini (1.21 or later)"},
		"transaction mode, one server connection": {"pool_mode = transaction\ndefault_pool_size = 1", "cache_describe",
			"ok pooler: in between, transaction mode, and DATABASE_URL asks for no prepared statements" + migrate},
		"transaction mode, server connections in turn": {"pool_mode = transaction\nserver_round_robin = 1", "describe_exec",
			"ok pooler: in between, transaction mode, and DATABASE_URL asks for no prepared statements" + migrate},
		"statement mode": {"pool_mode = statement", "", "failed pooler: in between, statement mode, which refuses transactions. Fix: pool_mode = transaction or session in pgbouncer.ini"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			pooled := edit(t, pgBouncer(t, databaseURL, c.config), func(_ *url.URL, query url.Values) {
				if c.execMode != "" {
					query.Set("default_query_exec_mode", c.execMode)
				}
			})
			found := check(t, pooled)
			require.Contains(t, found, c.want)
			require.Contains(t, found, "ok primary key: (device_id, ts)", "the rest is checked through it too")
			require.Contains(t, found, "ok clock: …")
		})
	}
	t.Run("a parameter that it refuses", func(t *testing.T) {
		allowed, err := sandbox.PlainTableURL(pgBouncer(t, databaseURL, "pool_mode = transaction"))
		require.NoError(t, err)
		found := check(t, allowed)
		require.Len(t, found, 1)
		require.Contains(t, found[0], "Fix: PgBouncer refuses a parameter of DATABASE_URL: take it out, or add it to ignore_startup_parameters in pgbouncer.ini")
	})
}

func TestPostgres_RefusesWaysOfSendingThatLoseAttributes(t *testing.T) {
	databaseURL := servertest.Migrated(t)
	for _, mode := range []string{"exec", "simple_protocol"} {
		found := check(t, edit(t, databaseURL, func(_ *url.URL, query url.Values) { query.Set("default_query_exec_mode", mode) }))
		require.Contains(t, found, "failed statements: default_query_exec_mode="+mode+" cannot send attributes: every row would be rejected. "+
			"Fix: take default_query_exec_mode out of DATABASE_URL; where a pooler needs it, cache_describe")
	}
}

// pgBouncer starts one in front of the database and returns the URL of the way through it.
func pgBouncer(t *testing.T, databaseURL, config string) string {
	target, err := pgx.ParseConfig(databaseURL)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := listener.Addr().(*net.TCPAddr).Port
	require.NoError(t, listener.Close())

	ini := filepath.Join(t.TempDir(), "pgbouncer.ini")
	require.NoError(t, os.WriteFile(ini, fmt.Appendf(nil, `
[databases]
* = host=%s port=%d user=%s password=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
%s
`, target.Host, target.Port, target.User, target.Password, port, config), 0o644))
	binary, err := exec.LookPath("pgbouncer")
	if err != nil {
		binary = "/usr/sbin/pgbouncer" // Debian's, which is not on everybody's PATH
	}
	args := []string{ini}
	if os.Geteuid() == 0 { // it refuses to run as root
		args = []string{"-u", "nobody", ini}
	}
	cmd := exec.Command(binary, args...)
	log, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start(), "install Debian's pgbouncer: scripts/test does")
	up, ended := make(chan bool, 1), make(chan struct{})
	go func() {
		defer close(ended)
		var seen bytes.Buffer
		lines := bufio.NewScanner(log)
		for lines.Scan() {
			fmt.Fprintln(&seen, lines.Text())
			if strings.Contains(lines.Text(), "process up") {
				up <- true
			}
		}
		up <- false
		t.Log(seen.String())
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // at once: it need not wait for clients
		<-ended
		_ = cmd.Wait()
	})
	require.True(t, <-up, "pgbouncer did not start")
	return edit(t, databaseURL, func(u *url.URL, query url.Values) {
		u.Host = fmt.Sprintf("127.0.0.1:%d", port)
		query.Set("sslmode", "disable")
	})
}

func TestPostgres_FindsAnotherEncoding(t *testing.T) {
	server := servertest.NewPostgres(t)
	servertest.Execute(t, server.URL("postgres"),
		"CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
		"CREATE DATABASE bytes TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
	require.Contains(t, check(t, server.URL("latin")), "failed encoding: the database has the encoding LATIN1, which lacks most characters: positions with others would become dead letters. Fix: a database with the encoding UTF8")
	require.Contains(t, check(t, server.URL("bytes")), "warning encoding: the database has the encoding SQL_ASCII: PostgreSQL stores payloads byte by byte and checks none. Fix: a database with the encoding UTF8")
}

// Chunks are found by inheritance, which a plain table can have too.
func TestPostgres_LooksAtTheChunks(t *testing.T) {
	databaseURL, err := sandbox.PlainTableURL(servertest.Database(t))
	require.NoError(t, err)
	require.NoError(t, schema.MigrateUp(t.Context(), databaseURL))
	before := check(t, databaseURL)
	servertest.Execute(t, databaseURL,
		"CREATE TABLE whole (LIKE positions INCLUDING INDEXES) INHERITS (positions)",
		"CREATE UNLOGGED TABLE volatile (LIKE positions INCLUDING INDEXES) INHERITS (positions)",
		"CREATE TABLE keyless () INHERITS (positions)")
	require.Equal(t, []string{
		"failed chunks: 1 chunks of positions are UNLOGGED: PostgreSQL empties them after a crash. Fix: set these chunks LOGGED",
		"failed chunks: 1 chunks of positions have no unique index, so that a redelivered position can be a second row. Fix: remove rows whose key is there twice, then give these chunks the primary key (device_id, ts)",
		"ok locks: …",
		"ok chunk size: …",
	}, changed(before, check(t, databaseURL)))
}

// 3,600 days at PostgreSQL's default settings: SELECT count(*) fails there.
func TestLockProblem(t *testing.T) {
	chunks := func(n int64) inspect.Chunks {
		return inspect.Chunks{Chunks: n, Indexes: n, LocksPerTransaction: 64, Transactions: 100}
	}
	problem, fix := lockProblem(chunks(1600))
	require.Empty(t, problem+fix)
	problem, fix = lockProblem(chunks(3600))
	require.Equal(t, "positions has 3600 chunks with 3600 indexes, and the server has room for 6400 locks: a statement without a range of ts may fail with out of shared memory (53200)", problem)
	require.Equal(t, "max_locks_per_transaction = 320 in postgresql.conf, and restart PostgreSQL", fix)
	enough := chunks(3600)
	enough.LocksPerTransaction = 320
	problem, _ = lockProblem(enough)
	require.Empty(t, problem)
}

// A server that answers with an error is not to be started.
func TestHintDatabase_NamesTheSetting(t *testing.T) {
	for state, want := range map[string]string{
		"57014": "statement_timeout",
		"53300": "connection limit",
		"25006": "default_transaction_read_only",
		"28P01": "role and password",
		"08P01": "pgbouncer.ini",
		"57P03": "see its log",
		"":      "start PostgreSQL",
	} {
		err := errors.New("connection refused")
		if state != "" {
			err = fmt.Errorf("connect: %w", &pgconn.PgError{Code: state})
		}
		require.Contains(t, hintDatabase(err), want, state)
	}
}
