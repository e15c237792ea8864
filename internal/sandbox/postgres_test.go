package sandbox_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
)

func startPostgres(t *testing.T, options sandbox.PostgresOptions) *sandbox.Postgres {
	t.Helper()
	server, err := sandbox.StartPostgres(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.WithoutCancel(t.Context()))) })
	return server
}

func queryString(t *testing.T, conn *pgx.Conn, sql string) string {
	t.Helper()
	var value string
	require.NoError(t, conn.QueryRow(t.Context(), sql).Scan(&value))
	return value
}

// sqlState returns the SQLSTATE of the error of the connection's next statement.
func sqlState(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	_, err := conn.Exec(t.Context(), "SELECT 1")
	var pgErr *pgconn.PgError
	require.ErrorAs(t, err, &pgErr)
	return pgErr.Code
}

func TestPostgres_StopRemovesEverything(t *testing.T) {
	list := setTempDir(t)
	server := startPostgres(t, sandbox.PostgresOptions{})
	pid := server.PID()
	conn := servertest.Connect(t, server.URL("postgres"))
	require.Len(t, list(), 1)
	require.True(t, processRuns(pid))

	require.NoError(t, server.Stop(t.Context()))
	require.NoError(t, server.Stop(t.Context()), "a second time")

	require.Equal(t, "57P01", sqlState(t, conn), "admin_shutdown")
	require.Empty(t, list())
	require.False(t, processRuns(pid))
	require.EqualError(t, server.Restart(t.Context()), "restart PostgreSQL: already stopped and removed")
}

func TestPostgres_RestartKeepsDatabases(t *testing.T) {
	server := startPostgres(t, sandbox.PostgresOptions{})
	require.NoError(t, server.CreateDatabase(t.Context(), "fleet"))
	url := server.URL("fleet")
	_, err := servertest.Connect(t, url).Exec(t.Context(), "CREATE TABLE kept AS SELECT 'value' AS value")
	require.NoError(t, err)

	ends := map[string]func() error{
		"kill":      server.Kill,
		"immediate": func() error { return server.StopImmediate(t.Context()) },
		"running":   func() error { return nil },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			pid := server.PID()
			require.NoError(t, end())
			require.NoError(t, server.Restart(t.Context()))
			require.NotEqual(t, pid, server.PID())
			require.Equal(t, url, server.URL("fleet"))
			require.Equal(t, "value", queryString(t, servertest.Connect(t, url), "SELECT value FROM kept"))
		})
	}
}

func TestPostgres_KillCutsOffSessions(t *testing.T) {
	server := startPostgres(t, sandbox.PostgresOptions{})
	conn := servertest.Connect(t, server.URL("postgres"))
	postmaster, backend := server.PID(), int(conn.PgConn().PID())
	require.True(t, processRuns(postmaster))
	require.True(t, processRuns(backend))

	require.NoError(t, server.Kill())

	require.False(t, processRuns(postmaster))
	require.False(t, processRuns(backend))
	require.Error(t, conn.Ping(t.Context()))
}

func TestPostgres_PauseStopsAnswers(t *testing.T) {
	server := startPostgres(t, sandbox.PostgresOptions{})
	conn := servertest.Connect(t, server.URL("postgres"))
	require.NoError(t, conn.Ping(t.Context()))

	require.NoError(t, server.Pause())
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, conn.Ping(ctx), context.DeadlineExceeded, "a session")
	_, err := pgx.Connect(ctx, server.URL("postgres"))
	require.ErrorIs(t, err, context.DeadlineExceeded, "a new connection")

	require.NoError(t, server.Resume())
	require.NoError(t, servertest.Connect(t, server.URL("postgres")).Ping(t.Context()))
}

func TestPostgres_StopEndsAPausedServer(t *testing.T) {
	server := startPostgres(t, sandbox.PostgresOptions{})
	conn := servertest.Connect(t, server.URL("postgres"))
	require.NoError(t, server.Pause())
	require.NoError(t, server.Stop(t.Context()))
	require.Equal(t, "57P01", sqlState(t, conn))
	require.False(t, processRuns(server.PID()))
}

func TestPostgres_IsConfiguredAsInProduction(t *testing.T) {
	server := startPostgres(t, sandbox.PostgresOptions{ExtraConf: []string{"max_connections = 33"}})
	require.NoError(t, server.CreateDatabase(t.Context(), "fleet"))
	conn := servertest.Connect(t, server.URL("fleet"))
	got := map[string]string{}
	rows, err := conn.Query(t.Context(), `SELECT name, setting FROM pg_settings WHERE name IN ('fsync',
		'synchronous_commit', 'full_page_writes', 'server_encoding', 'listen_addresses', 'max_connections')
		UNION ALL SELECT 'collation', datcollate FROM pg_database WHERE datname = current_database()`)
	require.NoError(t, err)
	var name, setting string
	_, err = pgx.ForEachRow(rows, []any{&name, &setting}, func() error {
		got[name] = setting
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, map[string]string{
		"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "server_encoding": "UTF8",
		"listen_addresses": "127.0.0.1", "max_connections": "33", "collation": "C.UTF-8",
	}, got)
}

func TestPostgres_HasTimescaleDBAsTheServerSays(t *testing.T) {
	server := startPostgres(t, sandbox.PostgresOptions{})
	available := queryString(t, servertest.Connect(t, server.URL("postgres")),
		"SELECT count(*)::text FROM pg_available_extensions WHERE name = 'timescaledb'")
	require.Equal(t, map[bool]string{true: "1", false: "0"}[server.HasTimescaleDB()], available)
}

func TestPostgres_PasswordIsNeeded(t *testing.T) {
	server := startPostgres(t, sandbox.PostgresOptions{})
	config, err := pgx.ParseConfig(server.URL("postgres"))
	require.NoError(t, err)
	require.NotEmpty(t, config.Password)
	config.Password = "wrong"
	_, err = pgx.ConnectConfig(t.Context(), config)
	var pgErr *pgconn.PgError
	require.ErrorAs(t, err, &pgErr)
	require.Equal(t, "28P01", pgErr.Code)
}

func TestStartPostgres_Errors(t *testing.T) {
	missing := t.TempDir()
	list := setTempDir(t)

	_, err := sandbox.StartPostgres(t.Context(), sandbox.PostgresOptions{BinDir: missing})
	require.ErrorIs(t, err, sandbox.ErrNotInstalled)
	require.EqualError(t, err, "start PostgreSQL: not installed in "+missing+": set a directory that contains initdb and postgres")

	_, err = sandbox.StartPostgres(t.Context(), sandbox.PostgresOptions{ExtraConf: []string{"no_such_setting = 1"}})
	require.ErrorContains(t, err, "start PostgreSQL: exit status 1: ")
	require.ErrorContains(t, err, "no_such_setting")

	require.Empty(t, list())
}

func TestPlainTableURL_SetsTheSessionSetting(t *testing.T) {
	tests := map[string]string{
		"postgres://u:p@h/d":                              "postgres://u:p@h/d?options=-c%20processor.allow_plain_table%3Don",
		"postgres://u:p@h/d?options=-c%20a%3Db&z=1":       "postgres://u:p@h/d?options=-c%20a%3Db%20-c%20processor.allow_plain_table%3Don&z=1",
		"postgres://u:p@h/d?application_name=a%2Bb&z=%20": "postgres://u:p@h/d?application_name=a%2Bb&options=-c%20processor.allow_plain_table%3Don&z=%20",
	}
	for databaseURL, want := range tests {
		got, err := sandbox.PlainTableURL(databaseURL)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := sandbox.PlainTableURL("postgres://user:se%cret@h/d")
	require.EqualError(t, err, "not a database URL")

	server := startPostgres(t, sandbox.PostgresOptions{})
	url, err := sandbox.PlainTableURL(server.URL("postgres"))
	require.NoError(t, err)
	require.Equal(t, "on", queryString(t, servertest.Connect(t, url), "SELECT current_setting('processor.allow_plain_table')"))
}
