package store

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/position"
	"processor/internal/servertest"
)

// The server sends the rows' results before it commits: an error of the commit itself must not
// pass for success, or entries would be acknowledged that are no rows.
func TestWriter_CommitFailureIsNoSuccess(t *testing.T) {
	url := plain(t, servertest.Database(t)) // a hypertable takes no constraint triggers
	servertest.Execute(t, url, `
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF NEW.speed = 13 THEN RAISE EXCEPTION 'not thirteen' USING ERRCODE = 'check_violation'; END IF;
			RETURN NULL;
		END $$;
		CREATE CONSTRAINT TRIGGER late AFTER INSERT ON positions
			DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()`)
	w := open(t, url, Options{}).NewWriter()

	got, err := w.Write(t.Context(), Batch{Positions: []position.Position{at("a", 1, 1, `{}`), at("b", 1, 13, `{}`), at("c", 1, 2, `{}`)}})
	require.NoError(t, err)
	require.Equal(t, 2, got.Inserted)
	require.Len(t, got.Rejected, 1)
	require.Equal(t, 1, got.Rejected[0].Index)
	require.Equal(t, []string{`a 12:00:01 1.5 1 {}`, `c 12:00:01 1.5 2 {}`}, servertest.Ask(t, url, allRows))
}

// A server that became a standby refuses writes on connections that are well otherwise. The next
// attempt goes over a new one, which may reach the new primary.
func TestWriter_LeavesAStandby(t *testing.T) {
	url := servertest.Migrated(t)
	s := open(t, url, Options{})
	w := s.NewWriter()
	_, err := w.Write(t.Context(), Batch{Positions: devices(1)})
	require.NoError(t, err)
	// As a standby answers, on the connections that are there.
	for range 2 {
		conn, err := s.pool.Acquire(t.Context())
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), `SET default_transaction_read_only = on`)
		require.NoError(t, err)
		defer conn.Release()
		conn.Release()
	}
	got, err := w.Write(t.Context(), Batch{Positions: devices(2)})
	require.NoError(t, err)
	require.Equal(t, Result{Inserted: 1, Unchanged: 1}, got)
}

func TestWriter_WaitsForAServerThatIsGone(t *testing.T) {
	server := servertest.NewPostgres(t)
	require.NoError(t, server.CreateDatabase(t.Context(), "fleet"))
	url := plain(t, server.URL("fleet"))
	failures := make(chan Class, 1000)
	s := open(t, url, Options{Events: Events{Failed: func(c Class) { failures <- c }}})
	w := s.NewWriter()
	_, err := w.Write(t.Context(), Batch{Positions: []position.Position{at("a", 1, 1, `{}`)}})
	require.NoError(t, err)

	require.NoError(t, server.StopImmediate(t.Context()))
	written := make(chan Result)
	go func() {
		r, _ := w.Write(t.Context(), Batch{Positions: []position.Position{at("a", 1, 1, `{}`), at("b", 1, 1, `{}`)}})
		written <- r
	}()
	for range 3 {
		require.Equal(t, Unavailable, servertest.Within(t, failures))
	}
	require.NoError(t, server.Restart(t.Context()))
	require.Equal(t, Result{Inserted: 1, Unchanged: 1}, servertest.Within(t, written))
	require.Equal(t, []string{`a 12:00:01 1.5 1 {}`, `b 12:00:01 1.5 1 {}`}, servertest.Ask(t, url, allRows))
	s.Close() // before the server stops
}

func TestWriter_EndsWithItsContext(t *testing.T) {
	url := servertest.Migrated(t)
	servertest.Execute(t, url, `DROP TABLE positions`)
	ctx, cancel := context.WithCancel(t.Context())
	w := open(t, url, Options{Events: Events{Failed: func(Class) { cancel() }}}).NewWriter()
	got, err := w.Write(ctx, Batch{Positions: []position.Position{at("a", 1, 1, `{}`)}})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, Result{}, got)
}
