package store

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"processor/internal/position"
	"processor/internal/servertest"
)

// When the schema is wrong the batch is held, the trouble is told once with its hint, and the
// batch lands as soon as somebody fixed it.
func TestWriter_HoldsTheBatchWhileTheSchemaIsWrong(t *testing.T) {
	url := servertest.Migrated(t)
	servertest.Execute(t, url, `ALTER TABLE positions RENAME COLUMN speed TO velocity`)
	failures := make(chan Class, 1000)
	trouble := make(chan error, 1000)
	w := open(t, url, Options{Events: Events{
		Failed:  func(c Class) { failures <- c },
		Trouble: func(_ Class, err error) { trouble <- err },
	}}).NewWriter()

	written := make(chan Result)
	go func() {
		r, _ := w.Write(t.Context(), Batch{Positions: []position.Position{at("a", 1, 1, `{}`)}})
		written <- r
	}()
	for range 2 { // it is tried again, not given up
		require.Equal(t, Schema, servertest.Within(t, failures))
	}
	err := servertest.Within(t, trouble)
	require.Contains(t, err.Error(), "Fix: bring the column of positions back")
	servertest.Execute(t, url, `ALTER TABLE positions RENAME COLUMN velocity TO speed`)
	require.Equal(t, Result{Inserted: 1}, servertest.Within(t, written))
	for err != nil {
		err = servertest.Within(t, trouble)
	}
	require.Equal(t, []string{`a 12:00:01 1.5 1 {}`}, servertest.Ask(t, url, allRows))
}

// A row that alone meets a limit of the server, or an error without a rule, keeps no other row
// waiting and is not lost: it is written when it can be.
func TestWriter_ParksARowThatFailsByItself(t *testing.T) {
	for class, state := range map[Class]string{Limit: "57014", Unexpected: "P0001"} {
		t.Run(string(class), func(t *testing.T) {
			url := servertest.Migrated(t)
			raise(t, url, `NEW.device_id IN ('d000', 'd150')`, state)
			w := open(t, url, Options{}).NewWriter()

			got, err := w.Write(t.Context(), Batch{Positions: devices(200)})
			require.NoError(t, err)
			require.Equal(t, 198, got.Inserted)
			require.Empty(t, got.Rejected)
			require.Len(t, got.Parked, 2)
			for i, index := range []int{0, 150} {
				require.Equal(t, index, got.Parked[i].Index)
				require.Equal(t, class, Classify(got.Parked[i].Err))
			}
			require.True(t, w.store.Healthy(), "nothing is wrong with the server")
			require.Equal(t, []string{"198"}, servertest.Ask(t, url, `SELECT count(*)::text FROM positions`))

			servertest.Execute(t, url, `DROP TRIGGER refuse ON positions`)
			got, err = w.Write(t.Context(), Batch{Positions: devices(200), Redelivered: true})
			require.NoError(t, err)
			require.Equal(t, Result{Inserted: 2, Unchanged: 198}, got)
		})
	}
}

// Where one row after the other fails and none is written, the server is at fault: the batch is
// held and reported, and no row is set apart or rejected.
func TestWriter_HoldsTheBatchWhereEveryRowFails(t *testing.T) {
	for class, state := range map[Class]string{Limit: "53200", Unexpected: "XX000"} {
		t.Run(string(class), func(t *testing.T) {
			url := servertest.Migrated(t)
			raise(t, url, `TRUE`, state)
			trouble := make(chan Class, 1000)
			s := open(t, url, Options{Events: Events{Trouble: func(c Class, err error) {
				if err != nil {
					trouble <- c
				}
			}}})
			written := make(chan Result)
			go func() {
				r, _ := s.NewWriter().Write(t.Context(), Batch{Positions: devices(200), Single: true})
				written <- r
			}()
			for range 2 {
				require.Equal(t, class, servertest.Within(t, trouble))
			}
			require.False(t, s.Healthy())
			servertest.Execute(t, url, `DROP TRIGGER refuse ON positions`)
			got := servertest.Within(t, written)
			require.Empty(t, got.Rejected)
			require.LessOrEqual(t, len(got.Parked), maxUnproven)
			require.Equal(t, 200, got.Inserted+len(got.Parked))
		})
	}
}

// A last chance ends in a rejection only where the server writes others meanwhile, and never for
// a limit.
func TestWriter_LastChance(t *testing.T) {
	url := servertest.Migrated(t)
	raise(t, url, `NEW.device_id = 'd000'`, "P0001")
	s, clock := openWithClock(t, url, Options{})
	w := s.NewWriter()
	single := Batch{Positions: devices(1), Redelivered: true, Single: true}

	got, err := w.Write(t.Context(), single)
	require.NoError(t, err)
	require.Empty(t, got.Rejected, "perhaps nothing can be written")
	require.Len(t, got.Parked, 1)

	_, err = s.NewWriter().Write(t.Context(), Batch{Positions: []position.Position{at("other", 1, 1, `{}`)}})
	require.NoError(t, err)
	clock.add(recently)
	got, err = w.Write(t.Context(), single)
	require.NoError(t, err)
	require.Empty(t, got.Rejected, "that was long ago")
	require.Len(t, got.Parked, 1)

	_, err = s.NewWriter().Write(t.Context(), Batch{Positions: []position.Position{at("third", 1, 1, `{}`)}})
	require.NoError(t, err)
	got, err = w.Write(t.Context(), single)
	require.NoError(t, err)
	require.Empty(t, got.Parked)
	require.Len(t, got.Rejected, 1)
	require.Equal(t, "P0001", got.Rejected[0].SQLState)
	require.Equal(t, Unexpected, got.Rejected[0].Class)

	servertest.Execute(t, url, `DROP TRIGGER refuse ON positions; DROP FUNCTION refuse`)
	raise(t, url, `NEW.device_id = 'd000'`, "57014")
	_, err = s.NewWriter().Write(t.Context(), Batch{Positions: []position.Position{at("another", 1, 1, `{}`)}})
	require.NoError(t, err)
	got, err = w.Write(t.Context(), single)
	require.NoError(t, err)
	require.Empty(t, got.Rejected)
	require.Len(t, got.Parked, 1)
}

// A batch that takes longer than the write timeout, however often it is tried, is cut into parts
// that do not.
func TestWriter_CutsABatchThatTakesTooLong(t *testing.T) {
	url := plain(t, servertest.Database(t)) // a hypertable takes no transition tables
	servertest.Execute(t, url, `
		CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF (SELECT count(*) FROM written) > 30 THEN PERFORM pg_sleep(60); END IF;
			RETURN NULL;
		END $$;
		CREATE TRIGGER slow AFTER INSERT ON positions REFERENCING NEW TABLE AS written
			FOR EACH STATEMENT EXECUTE FUNCTION slow()`)
	s := open(t, url, Options{})
	s.clock.limit = endsWhenAsleep(t, url)
	got, err := s.NewWriter().Write(t.Context(), Batch{Positions: devices(200)})
	require.NoError(t, err)
	require.Equal(t, 200, got.Inserted+got.Unchanged)
	require.Empty(t, got.Parked)
	require.Equal(t, []string{"200"}, servertest.Ask(t, url, `SELECT count(*)::text FROM positions`))
}

// endsWhenAsleep is a clock's limit that ends when a session of the database sleeps, and not otherwise.
func endsWhenAsleep(t testing.TB, url string) func(context.Context, time.Duration) (context.Context, context.CancelFunc) {
	var cancel atomic.Pointer[context.CancelCauseFunc]
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer conn.Close(context.WithoutCancel(t.Context()))
		slept := []int32{-1}
		for poll := time.NewTicker(10 * time.Millisecond); ; <-poll.C {
			rows, _ := conn.Query(t.Context(), `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep' AND pid <> ALL ($1)`, slept)
			asleep, err := pgx.CollectRows(rows, pgx.RowTo[int32])
			if err != nil {
				return // the test ends
			}
			if len(asleep) > 0 {
				slept = append(slept, asleep...)
				(*cancel.Load())(errTimeout)
			}
		}
	}()
	t.Cleanup(func() { servertest.Within(t, ended) })
	return func(ctx context.Context, _ time.Duration) (context.Context, context.CancelFunc) {
		ctx, end := context.WithCancelCause(ctx)
		cancel.Store(&end)
		return ctx, func() { end(nil) }
	}
}
