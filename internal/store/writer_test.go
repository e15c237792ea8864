package store

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"processor/internal/position"
	"processor/internal/servertest"
)

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

func TestWriter_CountsAndMerges(t *testing.T) {
	type write struct {
		batch []position.Position
		want  Result
	}
	cases := map[string]struct {
		writes []write
		rows   []string
	}{
		"new rows, unsorted": {
			[]write{{[]position.Position{at("b", 1, 1, `{}`), at("a", 2, 2, `{}`), at("a", 1, 3, `{}`)}, Result{Inserted: 3}}},
			[]string{`a 12:00:01 1.5 3 {}`, `a 12:00:02 1.5 2 {}`, `b 12:00:01 1.5 1 {}`},
		},
		"the same batch again": {
			[]write{
				{[]position.Position{at("a", 1, 1, `{"x": 1}`), at("b", 1, 2, `{}`)}, Result{Inserted: 2}},
				{[]position.Position{at("b", 1, 2, `{}`), at("a", 1, 1, `{"x": 1}`)}, Result{Unchanged: 2}},
			},
			[]string{`a 12:00:01 1.5 1 {"x": 1}`, `b 12:00:01 1.5 2 {}`},
		},
		"a later record with the key adds attributes and changes nothing else": {
			[]write{
				{[]position.Position{at("a", 1, 1, `{"x": 1}`)}, Result{Inserted: 1}},
				{[]position.Position{at("a", 1, 99, `{"x": 2, "y": 3}`)}, Result{Merged: 1}},
				{[]position.Position{at("a", 1, 99, `{"x": 2, "y": 4}`)}, Result{Unchanged: 1}},
			},
			[]string{`a 12:00:01 1.5 1 {"x": 1, "y": 3}`},
		},
		"a key four times in one batch": {
			[]write{{
				[]position.Position{
					at("a", 1, 1, `{"x": 1}`), at("b", 1, 5, `{}`), at("a", 1, 2, `{"x": 2, "y": 2}`),
					at("a", 1, 3, `{"x": 3}`), at("a", 1, 4, `{"z": 4}`),
				},
				Result{Inserted: 2, Merged: 2, Unchanged: 1},
			}},
			[]string{`a 12:00:01 1.5 1 {"x": 1, "y": 2, "z": 4}`, `b 12:00:01 1.5 5 {}`},
		},
		"an empty batch": {[]write{{nil, Result{}}}, []string{}},
		"numbers equal by value are no change": {
			[]write{
				{[]position.Position{at("a", 1, 1, `{"x": 1.0}`)}, Result{Inserted: 1}},
				{[]position.Position{at("a", 1, 1, `{"x": 1.00}`)}, Result{Unchanged: 1}},
			},
			[]string{`a 12:00:01 1.5 1 {"x": 1.0}`},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			url := servertest.Migrated(t)
			w := open(t, url, Options{}).NewWriter()
			require.Empty(t, servertest.Ask(t, url, allRows))
			for _, write := range c.writes {
				got, err := w.Write(t.Context(), Batch{Positions: write.batch})
				require.NoError(t, err)
				require.Equal(t, write.want, got)
			}
			require.Equal(t, c.rows, append([]string{}, servertest.Ask(t, url, allRows)...))
		})
	}
}

// Any redelivery, in any order, leaves the same rows.
func TestWriter_IsIdempotentInAnyOrder(t *testing.T) {
	url := servertest.Migrated(t)
	w := open(t, url, Options{}).NewWriter()
	var batch []position.Position
	for i := range 200 {
		batch = append(batch, at(fmt.Sprint("d", i%20), i%40, float32(i%20), fmt.Sprintf(`{"io": %d}`, i%20)))
	}
	_, err := w.Write(t.Context(), Batch{Positions: batch})
	require.NoError(t, err)
	before := servertest.Ask(t, url, allRows)
	for range 3 {
		slices.Reverse(batch)
		for part := range slices.Chunk(batch, 70) {
			got, err := w.Write(t.Context(), Batch{Positions: part})
			require.NoError(t, err)
			require.Equal(t, Result{Unchanged: len(part)}, got)
		}
	}
	require.Equal(t, before, servertest.Ask(t, url, allRows))
}

// Fresh batches go by COPY. A key that is there fails it as a whole and leaves nothing behind;
// the same rows go by upsert, are counted once, and COPY comes back after a while.
func TestWriter_CopiesUntilAKeyIsThere(t *testing.T) {
	url := servertest.Migrated(t)
	var paths []string
	w := open(t, url, Options{Events: Events{Wrote: func(path string, rows int, _ time.Duration) {
		paths = append(paths, fmt.Sprint(path, " ", rows))
	}}}).NewWriter()
	second := 0
	write := func(redelivered bool, positions ...position.Position) Result {
		paths = nil
		r, err := w.Write(t.Context(), Batch{Positions: positions, Redelivered: redelivered})
		require.NoError(t, err)
		return r
	}
	fresh := func() position.Position { second++; return at(fmt.Sprint("d", second), 1, 1, `{}`) }

	require.Equal(t, Result{Inserted: 2}, write(false, fresh(), fresh()))
	require.Equal(t, []string{"insert 2"}, paths)
	require.Equal(t, Result{Inserted: 1}, write(true, fresh()))
	require.Equal(t, []string{"upsert 1"}, paths, "redelivered entries are not tried by COPY")
	require.Equal(t, Result{Inserted: 1, Merged: 1}, write(false, at("r", 1, 1, `{}`), at("r", 1, 1, `{"x": 1}`)))
	require.Equal(t, []string{"upsert 2"}, paths, "neither are repeats of a key")

	before := servertest.Ask(t, url, allRows)
	require.Equal(t, Result{Inserted: 1, Unchanged: 1}, write(false, fresh(), at("d1", 1, 1, `{}`)))
	require.Equal(t, []string{"upsert 2"}, paths)
	require.Len(t, servertest.Ask(t, url, allRows), len(before)+1)
	for range minUpserts {
		write(false, fresh())
		require.Equal(t, []string{"upsert 1"}, paths)
	}
	write(false, fresh())
	require.Equal(t, []string{"insert 1"}, paths)
}

func TestMemory_PaysLessAndLessForAReplay(t *testing.T) {
	var m memory
	copies := 0
	for range 10000 {
		if !m.begin(false).upsert {
			copies++
			m.wrongPath()
		}
	}
	require.Equal(t, 15, copies) // 16 + 32 + … + 1024, then one in 1025
	m.stored(time.Now(), PathCopy, nil)
	m.wrongPath()
	require.Equal(t, minUpserts, m.upserts.left)
}

func TestWriter_RejectsTheBadRowsAlone(t *testing.T) {
	url := servertest.Migrated(t)
	servertest.Execute(t, url, `ALTER TABLE positions ADD CONSTRAINT plausible CHECK (speed < 500)`)
	failed := map[Class]int{}
	w := open(t, url, Options{Events: Events{Failed: func(c Class) { failed[c]++ }}}).NewWriter()
	var batch []position.Position
	for i := range 100 {
		batch = append(batch, at(fmt.Sprintf("d%02d", i), 1, float32(i), `{}`))
	}
	batch[7].Speed, batch[63].Speed = 600, 700

	got, err := w.Write(t.Context(), Batch{Positions: batch})
	require.NoError(t, err)
	require.Equal(t, 98, got.Inserted)
	require.Len(t, got.Rejected, 2)
	slices.SortFunc(got.Rejected, func(a, b Rejection) int { return a.Index - b.Index })
	require.Equal(t, 7, got.Rejected[0].Index)
	require.Equal(t, 63, got.Rejected[1].Index)
	require.Equal(t, "23514", got.Rejected[0].SQLState)
	require.Contains(t, got.Rejected[0].Detail(), "plausible")
	require.Len(t, servertest.Ask(t, url, allRows), 98)
	require.Positive(t, failed[BadRow])
	require.Len(t, failed, 1, "nothing but bad rows was met")
}

// In a part of a batch the bad rows are found in one transaction: each commit waits for the disk.
// The rows beside them are counted as they are, also those that were there.
func TestWriter_FindsBadRowsInOneTransaction(t *testing.T) {
	url := servertest.Migrated(t)
	servertest.Execute(t, url, `ALTER TABLE positions ADD CONSTRAINT plausible CHECK (speed < 500)`)
	var commits []string
	w := open(t, url, Options{Events: Events{Wrote: func(path string, rows int, _ time.Duration) {
		commits = append(commits, fmt.Sprint(path, " ", rows))
	}}}).NewWriter()
	_, err := w.Write(t.Context(), Batch{Positions: []position.Position{at("d007", 1, 1, `{}`), at("d009", 1, 1, `{}`)}})
	require.NoError(t, err)
	commits = nil

	batch := devices(40)
	for _, i := range []int{3, 4, 39} {
		batch[i].Speed = 600
	}
	batch[9].Attributes = []byte(`{"x": 1}`)
	got, err := w.Write(t.Context(), Batch{Positions: batch, Redelivered: true})
	require.NoError(t, err)
	require.Equal(t, []int{3, 4, 39}, rejected(got))
	require.Equal(t, []int{35, 1, 1}, []int{got.Inserted, got.Merged, got.Unchanged})
	require.Equal(t, []string{"upsert 37"}, commits)
	require.Equal(t, []string{"37"}, servertest.Ask(t, url, `SELECT count(*)::text FROM positions`))
}

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

// After a bad row batches are tried part by part from the start for a while, so that the next bad row
// costs less: the first part in a transaction of its own, all others in one.
func TestWriter_IsCautiousWhileBadRowsAreAbout(t *testing.T) {
	url := servertest.Migrated(t)
	servertest.Execute(t, url, `ALTER TABLE positions ADD CONSTRAINT plausible CHECK (speed < 500)`)
	var commits []string
	failed := 0
	w := open(t, url, Options{Events: Events{
		Wrote:         func(path string, rows int, _ time.Duration) { commits = append(commits, fmt.Sprint(path, " ", rows)) },
		Failed:        func(Class) { failed++ },
		CommitUnknown: func() { require.Fail(t, "every commit was answered") },
	}}).NewWriter()
	second := 0
	write := func(bad ...int) []string {
		batch := devices(100)
		for i := range batch {
			batch[i].Timestamp = batch[i].Timestamp.Add(time.Duration(second) * time.Second)
		}
		for _, i := range bad {
			batch[i].Speed = 600
		}
		second++
		commits = nil
		got, err := w.Write(t.Context(), Batch{Positions: batch})
		require.NoError(t, err)
		require.Equal(t, 100-len(bad), got.Inserted)
		require.Len(t, got.Rejected, len(bad))
		return commits
	}
	whole, inParts := []string{"insert 100"}, []string{"insert 13", "insert 87"}
	require.Equal(t, whole, write())
	require.Zero(t, failed)
	require.Equal(t, []string{"insert 13", "insert 86"}, write(50))
	require.Equal(t, 1, failed)
	for range carefulBatches {
		require.Equal(t, inParts, write())
	}
	require.Equal(t, whole, write())
	require.Equal(t, []string{"insert 12", "insert 86"}, write(1, 99))
	require.Equal(t, []string{"insert 12", "insert 85"}, write(1, 50, 99))
	require.Equal(t, 1+1+1, failed, "once for a batch")
	for range carefulBatches {
		require.Equal(t, inParts, write(), "the last bad rows count")
	}
	require.Equal(t, whole, write())
}

// Where COPY meets a row that is there already, the search goes on by upsert.
func TestWriter_FindsBadRowsAmongRowsThatAreThere(t *testing.T) {
	url := servertest.Migrated(t)
	servertest.Execute(t, url, `ALTER TABLE positions ADD CONSTRAINT plausible CHECK (speed < 500)`)
	w := open(t, url, Options{}).NewWriter()
	batch := devices(100)
	got, err := w.Write(t.Context(), Batch{Positions: batch[60:61]})
	require.NoError(t, err)
	require.Equal(t, Result{Inserted: 1}, got)

	batch[10].Speed, batch[99].Speed = 600, 600
	got, err = w.Write(t.Context(), Batch{Positions: batch})
	require.NoError(t, err)
	require.Equal(t, 97, got.Inserted)
	require.Equal(t, 1, got.Unchanged)
	require.Len(t, got.Rejected, 2)
	for i, index := range []int{10, 99} {
		require.Equal(t, index, got.Rejected[i].Index)
		require.Equal(t, "23514", got.Rejected[i].SQLState)
		require.Equal(t, "plausible", got.Rejected[i].Constraint)
	}
	require.Len(t, servertest.Ask(t, url, allRows), 98)
}

// A batch of nothing but bad rows is no transaction that outlasts the write timeout.
func TestWriter_DividesWhereManyRowsAreBad(t *testing.T) {
	url := servertest.Migrated(t)
	servertest.Execute(t, url, `ALTER TABLE positions ADD CONSTRAINT plausible CHECK (speed < 500)`)
	var commits []string
	w := open(t, url, Options{Events: Events{
		Wrote:         func(path string, rows int, _ time.Duration) { commits = append(commits, fmt.Sprint(path, " ", rows)) },
		Failed:        func(class Class) { require.Equal(t, BadRow, class) },
		CommitUnknown: func() { require.Fail(t, "every commit was answered") },
	}}).NewWriter()
	batch := devices(160)
	const bad = 20 + maxRejected + 1 // the first part is an eighth, in a transaction of its own
	for i := range batch[:bad] {
		batch[i].Speed = 600
	}

	got, err := w.Write(t.Context(), Batch{Positions: batch})
	require.NoError(t, err)
	require.Equal(t, 160-bad, got.Inserted)
	require.Len(t, got.Rejected, bad)
	for i := range got.Rejected {
		require.Equal(t, i, got.Rejected[i].Index)
	}
	require.Equal(t, []string{"insert 7", "insert 18", "insert 18", "insert 18", "insert 14"}, commits, "in eighths")
	require.Len(t, servertest.Ask(t, url, allRows), 160-bad)
}

// A large batch with bad rows is no transaction without bounds either.
func TestWriter_SearchesALargeBatchInSeveralTransactions(t *testing.T) {
	url := servertest.Migrated(t)
	servertest.Execute(t, url, `ALTER TABLE positions ADD CONSTRAINT plausible CHECK (speed < 500)`)
	var commits []string
	w := open(t, url, Options{Events: Events{Wrote: func(path string, rows int, _ time.Duration) {
		commits = append(commits, fmt.Sprint(path, " ", rows))
	}}}).NewWriter()
	const rows = 1500 + 2*maxSearched + 500
	batch := devices(rows)
	for i := range batch {
		batch[i].DeviceID = fmt.Sprintf("d%05d", i) // in the order in which they are sent
	}
	bad := []int{0, 1499, 1500 + maxSearched, rows - 1}
	for _, i := range bad {
		batch[i].Speed = 600
	}

	got, err := w.Write(t.Context(), Batch{Positions: batch})
	require.NoError(t, err)
	require.Equal(t, bad, rejected(got))
	require.Equal(t, rows-len(bad), got.Inserted)
	require.Equal(t, []string{"copy 1498", "copy 5000", "copy 4999", "copy 499"}, commits)
	require.Equal(t, []string{fmt.Sprint(rows - len(bad))}, servertest.Ask(t, url, `SELECT count(*)::text FROM positions`))
}

// raise is what somebody's trigger does to the rows that match.
func raise(t testing.TB, url, condition, state string) {
	servertest.Execute(t, url, fmt.Sprintf(`
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF %s THEN RAISE EXCEPTION 'too much' USING ERRCODE = '%s'; END IF;
			RETURN NEW;
		END $$;
		CREATE TRIGGER refuse BEFORE INSERT ON positions FOR EACH ROW EXECUTE FUNCTION refuse()`, condition, state))
}

func rejected(r Result) (indices []int) {
	for _, rejection := range r.Rejected {
		indices = append(indices, rejection.Index)
	}
	return indices
}

func devices(n int) (batch []position.Position) {
	for i := range n {
		batch = append(batch, at(fmt.Sprintf("d%03d", i), 1, 1, `{}`))
	}
	return batch
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

// Byte for byte from the payload to SQL: digits through numeric, bytes through bytea.
func TestWriter_KeepsBigintsAndBuffersExactly(t *testing.T) {
	url := servertest.Migrated(t)
	var d position.Decoder
	p, err := d.Decode([]byte(`{"device_id":"a","timestamp":"2026-11-23T12:00:01Z","latitude":1.5,"longitude":0,"altitude":0,` +
		`"angle":0,"speed":0,"satellites":0,"priority":0,"attributes":{"78":{"__bigint":"18446744073709551615"},` +
		`"79":{"__bigint":"-9223372036854775809"},"80":9007199254740993,"81":0.1000000000000000055511151231257827,` +
		`"385":{"__buffer_b64":"AAECA/8="},"386":{"__buffer_b64":""}}}`))
	require.NoError(t, err)
	_, err = open(t, url, Options{}).NewWriter().Write(t.Context(), Batch{Positions: []position.Position{p}})
	require.NoError(t, err)
	require.Equal(t, []string{"18446744073709551615 -9223372036854775809 9007199254740993 0.1000000000000000055511151231257827 00010203ff <>"},
		servertest.Ask(t, url, `SELECT concat_ws(' ',
			(attributes->>'78')::numeric, (attributes->>'79')::numeric, (attributes->>'80')::numeric, (attributes->>'81')::numeric,
			encode((attributes->>'385')::bytea, 'hex'), '<' || encode((attributes->>'386')::bytea, 'hex') || '>') FROM positions`))
}

// writeAll writes the batch, and what is parked of it until nothing is.
func writeAll(t testing.TB, w *Writer, batch []position.Position) (total Result) {
	return writeParked(t, w, Batch{Positions: batch})
}

func writeParked(t testing.TB, w *Writer, b Batch) (total Result) {
	for ; len(b.Positions) > 0; b = pick(b, total.Parked) {
		got, err := w.Write(t.Context(), b)
		require.NoError(t, err)
		total.Inserted += got.Inserted
		total.Merged += got.Merged
		total.Unchanged += got.Unchanged
		total.Rejected = append(total.Rejected, got.Rejected...)
		total.Parked = got.Parked
	}
	return total
}

// pick is the batch of what was parked of a batch.
func pick(b Batch, parked []Parked) Batch {
	next := Batch{Parked: true}
	for _, p := range parked {
		next.Positions = append(next.Positions, b.Positions[p.Index])
	}
	return next
}

type corpusRecord struct {
	Entry struct {
		DeviceID string `json:"device_id"`
		Payload  string `json:"payload"`
	} `json:"entry"`
	Expect string `json:"expect_attributes"`
}

func corpus(t testing.TB) []corpusRecord {
	file, err := os.ReadFile("../position/testdata/teltonika.ndjson")
	require.NoError(t, err)
	var records []corpusRecord
	for line := range strings.Lines(string(file)) {
		var r corpusRecord
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		records = append(records, r)
	}
	return records
}

// 50 real records, six of which share a key.
func TestWriter_StoresTheCorpus(t *testing.T) {
	url := servertest.Migrated(t)
	var d position.Decoder
	var batch []position.Position
	type key struct {
		device string
		ts     time.Time
	}
	expect := map[key][]string{}
	for _, r := range corpus(t) {
		p, err := d.Decode([]byte(r.Entry.Payload))
		require.NoError(t, err)
		batch = append(batch, p)
		k := key{p.DeviceID, p.Timestamp}
		expect[k] = append(expect[k], r.Expect)
	}
	got := writeAll(t, open(t, url, Options{}).NewWriter(), batch)
	require.Equal(t, 50, got.Inserted+got.Merged+got.Unchanged)
	require.Equal(t, 45, got.Inserted)

	conn := servertest.Connect(t, url)
	for k, wanted := range expect {
		// The union in which the first record's values stand.
		union := wanted[0]
		for _, later := range wanted[1:] {
			require.NoError(t, conn.QueryRow(t.Context(), `SELECT ($2::jsonb || $1::jsonb)::text`, union, later).Scan(&union))
		}
		var equal bool
		require.NoError(t, conn.QueryRow(t.Context(),
			`SELECT attributes = $3::jsonb FROM positions WHERE device_id = $1 AND ts = $2`, k.device, k.ts, union).Scan(&equal))
		require.True(t, equal, "%v: attributes differ from %s", k, union)
	}
	require.Equal(t, []string{"45"}, servertest.Ask(t, url, `SELECT count(*)::text FROM positions`))
}
