package store

import (
	"context"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/schema"
	"processor/internal/servertest"
)

func TestMain(m *testing.M) { servertest.Main(m) }

// migrated returns the URL of a database of the test's own that has every migration, on the
// real extension where the server has it.
func migrated(t testing.TB) string {
	url := servertest.Database(t)
	if servertest.HasTimescaleDB(t) {
		execute(t, url, "CREATE EXTENSION IF NOT EXISTS timescaledb")
	}
	require.NoError(t, schema.MigrateUp(t.Context(), url))
	return url
}

func execute(t testing.TB, url, statement string, args ...any) {
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	_, err = conn.Exec(t.Context(), statement, args...)
	require.NoError(t, err)
}

// ask returns the rows of a query as text, so that a whole state can be compared at once.
func ask(t testing.TB, url, query string, args ...any) []string {
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	rows, err := conn.Query(t.Context(), query, args...)
	require.NoError(t, err)
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return texts
}

func open(t testing.TB, url string, opts Options) *Store {
	s, err := Open(t.Context(), url, opts)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

// testClock goes on by a microsecond each time it is read, and otherwise when a test says so.
type testClock struct{ passed atomic.Int64 }

func (c *testClock) now() time.Time {
	return time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC).Add(time.Duration(c.passed.Add(int64(time.Microsecond))))
}

func (c *testClock) add(d time.Duration) { c.passed.Add(int64(d)) }

// openWithClock opens a Store for which no time passes, however long the server takes.
func openWithClock(t testing.TB, url string, opts Options) (*Store, *testClock) {
	s, c := open(t, url, opts), &testClock{}
	s.clock.now = c.now
	return s, c
}

// within waits for an event, with a deadline.
func within[T any](t testing.TB, events <-chan T) T {
	select {
	case e := <-events:
		return e
	case <-time.After(30 * time.Second):
		require.FailNow(t, "nothing happened within 30 s")
		panic("unreachable")
	}
}

// with sets a parameter of a URL.
func with(t testing.TB, rawURL, key, value string) string {
	u, err := url.Parse(rawURL)
	require.NoError(t, err)
	query := u.Query()
	query.Set(key, value)
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20") // PostgreSQL's drivers read no +
	return u.String()
}

// plain is migrated with a plain table, whatever the server has.
func plain(t testing.TB, databaseURL string) string {
	databaseURL, err := sandbox.PlainTableURL(databaseURL)
	require.NoError(t, err)
	require.NoError(t, schema.MigrateUp(t.Context(), databaseURL))
	return databaseURL
}
