package store

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/schema"
	"processor/internal/servertest"
)

func TestMain(m *testing.M) { servertest.Main(m) }

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

// plain is migrated with a plain table, whatever the server has.
func plain(t testing.TB, databaseURL string) string {
	databaseURL, err := sandbox.PlainTableURL(databaseURL)
	require.NoError(t, err)
	require.NoError(t, schema.MigrateUp(t.Context(), databaseURL))
	return databaseURL
}
