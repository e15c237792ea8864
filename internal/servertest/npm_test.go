package servertest_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"processor/internal/servertest"
)

func TestTimescaleDB_UpsertsIntoACompressedChunk(t *testing.T) {
	conn := servertest.Connect(t, servertest.TimescaleDB(t))
	exec := func(sql string, args ...any) int64 {
		tag, err := conn.Exec(t.Context(), sql, args...)
		require.NoError(t, err, sql)
		return tag.RowsAffected()
	}
	exec("CREATE EXTENSION IF NOT EXISTS timescaledb")
	exec("CREATE TABLE fixes (device text, ts timestamptz, speed real, PRIMARY KEY (device, ts))")
	exec("SELECT create_hypertable('fixes', by_range('ts', interval '1 day'), create_default_indexes => false)")
	exec("ALTER TABLE fixes SET (timescaledb.enable_columnstore, timescaledb.segmentby = 'device', timescaledb.orderby = 'ts DESC')")

	// One message of more than 64 KiB, in more than one TCP segment.
	const n = 5000
	devices, times, speeds := make([]string, n), make([]time.Time, n), make([]float32, n)
	for i := range n {
		devices[i] = "350000000000001"
		times[i] = time.Date(2025, 1, 1, 0, 0, i, 0, time.UTC)
		speeds[i] = float32(i)
	}
	upsert := "INSERT INTO fixes SELECT unnest($1::text[]), unnest($2::timestamptz[]), unnest($3::real[]) ON CONFLICT DO NOTHING"
	require.Equal(t, int64(n), exec(upsert, devices, times, speeds))
	compressed := queryRow[int](t, conn, "SELECT count(compress_chunk(c))::int FROM show_chunks('fixes') c")

	require.Equal(t, 1, compressed)
	require.Equal(t, int64(0), exec(upsert, devices, times, speeds), "the same rows again")
	times[0] = times[0].Add(-time.Second + 24*time.Hour)
	require.Equal(t, int64(1), exec(upsert, devices, times, speeds), "and one new row")
	require.Equal(t, n+1, queryRow[int](t, conn, "SELECT count(*)::int FROM fixes"))
}

func TestTimescaleDB_Copies(t *testing.T) {
	conn := servertest.Connect(t, servertest.TimescaleDB(t))
	_, err := conn.Exec(t.Context(), "CREATE TABLE fixes (device text, ts timestamptz, PRIMARY KEY (device, ts))")
	require.NoError(t, err)
	rows := func(n int) pgx.CopyFromSource {
		return pgx.CopyFromSlice(n, func(i int) ([]any, error) {
			return []any{"350000000000001", time.Unix(int64(i), 0)}, nil
		})
	}
	copyRows := func(n int) (int64, error) {
		return conn.CopyFrom(t.Context(), pgx.Identifier{"fixes"}, []string{"device", "ts"}, rows(n))
	}
	copied, err := copyRows(5000)
	require.NoError(t, err)
	require.Equal(t, int64(5000), copied)

	_, err = copyRows(1)
	var pgErr *pgconn.PgError
	require.ErrorAs(t, err, &pgErr)
	require.Equal(t, "23505", pgErr.Code)
	require.Equal(t, 5000, queryRow[int](t, conn, "SELECT count(*)::int FROM fixes"), "and the connection still works")
}

func TestTimescaleDB_ConnectionsTakeTurns(t *testing.T) {
	pool, err := pgxpool.New(t.Context(), servertest.TimescaleDB(t))
	require.NoError(t, err)
	defer pool.Close()
	_, err = pool.Exec(t.Context(), "CREATE TABLE counter AS SELECT 0 AS value")
	require.NoError(t, err)

	const writers, writes = 4, 25
	results := make(chan error, writers)
	for range writers {
		go func() {
			for range writes {
				// The same statement, prepared under the same name, on each connection.
				if err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
					var value int
					if err := tx.QueryRow(t.Context(), "SELECT value + $1::int FROM counter", 1).Scan(&value); err != nil {
						return err
					}
					_, err := tx.Exec(t.Context(), "UPDATE counter SET value = $1", value)
					return err
				}); err != nil {
					results <- err
					return
				}
			}
			results <- nil
		}()
	}
	for range writers {
		require.NoError(t, <-results)
	}
	var value int
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT value FROM counter").Scan(&value))
	require.Equal(t, writers*writes, value)
}

func TestTimescaleDB_ForgetsASessionThatEnds(t *testing.T) {
	url := servertest.TimescaleDB(t)
	first, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	for _, sql := range []string{"SET application_name = 'first'", "BEGIN", "CREATE TABLE uncommitted ()"} {
		_, err := first.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	require.NoError(t, first.Close(t.Context()))

	second := servertest.Connect(t, url)
	require.Equal(t, "", queryRow[string](t, second, "SHOW application_name"))
	require.Equal(t, 0, queryRow[int](t, second, "SELECT count(*)::int FROM pg_tables WHERE schemaname = 'public'"))
}

func TestDbmate_MigratesTimescaleDB(t *testing.T) {
	url, migrations := servertest.TimescaleDB(t), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(migrations, "1_fixes.sql"),
		[]byte("-- migrate:up\nCREATE TABLE fixes ();\n-- migrate:down\nDROP TABLE fixes;\n"), 0o600))
	dbmate := func(command string) string {
		cmd := exec.CommandContext(t.Context(), servertest.Dbmate(t), "--url", url, "--migrations-dir", migrations, "--no-dump-schema", command)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		return strings.TrimSpace(string(out))
	}
	require.Contains(t, dbmate("status"), "[ ] 1_fixes.sql")
	dbmate("up")
	require.Contains(t, dbmate("status"), "[X] 1_fixes.sql")
	dbmate("down")
	require.Contains(t, dbmate("status"), "[ ] 1_fixes.sql")
}
