package servertest_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
)

func TestMain(m *testing.M) {
	servertest.Main(m)
}

func TestRedis_IsOneServer(t *testing.T) {
	url := servertest.Redis(t)
	require.Equal(t, url, servertest.Redis(t))

	options, err := redis.ParseURL(url)
	require.NoError(t, err)
	client := redis.NewClient(options)
	defer client.Close()
	info, err := client.InfoMap(t.Context(), "server").Result()
	require.NoError(t, err)
	require.NotEmpty(t, info["Server"]["redis_version"])
}

func TestStreamName_IsUnique(t *testing.T) {
	first, second := servertest.StreamName(t), servertest.StreamName(t)
	require.Contains(t, first, t.Name())
	require.NotEqual(t, first, second)
}

func TestDatabase_LivesAsLongAsItsTest(t *testing.T) {
	outer := servertest.Connect(t, servertest.Database(t))
	var inner string
	t.Run("inner", func(t *testing.T) {
		conn := servertest.Connect(t, servertest.Database(t))
		inner = queryRow[string](t, conn, "SELECT current_database()")
		require.Equal(t, 0, queryRow[int](t, conn, "SELECT count(*)::int FROM pg_tables WHERE schemaname = 'public'"))
		require.Equal(t, []string{queryRow[string](t, outer, "SELECT current_database()"), inner}, testDatabases(t, outer))
	})
	require.NotEmpty(t, inner)
	require.NotContains(t, testDatabases(t, outer), inner)
}

func TestDatabase_AllowsAPlainTableWithoutTimescaleDB(t *testing.T) {
	conn := servertest.Connect(t, servertest.Database(t))
	allowed := queryRow[bool](t, conn, "SELECT coalesce(current_setting('processor.allow_plain_table', true), '') = 'on'")
	require.Equal(t, !servertest.HasTimescaleDB(t), allowed)
	_, err := conn.Exec(t.Context(), "CREATE EXTENSION IF NOT EXISTS timescaledb")
	require.Equal(t, servertest.HasTimescaleDB(t), err == nil, err)
}

func TestNewRedis_IsPrivate(t *testing.T) {
	server := servertest.NewRedis(t, sandbox.RedisOptions{})
	require.NotEqual(t, servertest.Redis(t), server.URL())
	require.NoError(t, server.Kill())
	require.NoError(t, server.Restart(t.Context()))
}

func TestNewPostgres_IsPrivate(t *testing.T) {
	server := servertest.NewPostgres(t, "max_connections = 33")
	require.Equal(t, "33", queryRow[string](t, servertest.Connect(t, server.URL("postgres")), "SHOW max_connections"))
	require.NoError(t, server.Kill())
	require.NoError(t, server.Restart(t.Context()))
}

func queryRow[T any](t *testing.T, conn *pgx.Conn, sql string, args ...any) (value T) {
	t.Helper()
	require.NoError(t, conn.QueryRow(t.Context(), sql, args...).Scan(&value))
	return value
}

func testDatabases(t *testing.T, conn *pgx.Conn) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), "SELECT datname FROM pg_database WHERE datname LIKE 'testdatabase\\_lives%' ORDER BY oid")
	require.NoError(t, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return names
}
