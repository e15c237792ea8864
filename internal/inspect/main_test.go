package inspect

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"processor/internal/position"
	"processor/internal/schema"
	"processor/internal/servertest"
	"processor/internal/store"
)

func TestMain(m *testing.M) { servertest.Main(m) }

// migrated returns the URL of a database of the test's own that has every migration, on the real extension where
// the server has it.
func migrated(t testing.TB) string {
	url := servertest.Database(t)
	if servertest.HasTimescaleDB(t) {
		execute(t, url, "CREATE EXTENSION IF NOT EXISTS timescaledb")
	}
	require.NoError(t, schema.MigrateUp(t.Context(), url))
	return url
}

func execute(t testing.TB, url, statement string) {
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	_, err = conn.Exec(t.Context(), statement)
	require.NoError(t, err, statement)
}

// ask returns the rows of a query as text, so that a whole state can be compared at once.
func ask(t testing.TB, url, query string) []string {
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	rows, err := conn.Query(t.Context(), query)
	require.NoError(t, err)
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return texts
}

func open(t testing.TB, url string, opts store.Options) *store.Store {
	s, err := store.Open(t.Context(), url, opts)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

const allRows = `SELECT concat_ws(' ', device_id, to_char(ts AT TIME ZONE 'UTC', 'HH24:MI:SS'), latitude, speed, attributes) FROM positions ORDER BY device_id, ts`

func at(device string, second int, speed float32, attributes string) position.Position {
	return position.Position{
		DeviceID:   device,
		Timestamp:  time.Date(2026, 11, 23, 12, 0, second, 0, time.UTC),
		Latitude:   1.5,
		Speed:      speed,
		Attributes: []byte(attributes),
	}
}
