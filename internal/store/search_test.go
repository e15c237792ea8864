package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/position"
	"processor/internal/servertest"
)

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

// After a bad row batches are tried part by part from the start for a while, so that the next bad row
// costs less: the first part in a separate transaction, all others in one.
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
	const bad = 20 + maxRejected + 1 // the first part is an eighth, in a separate transaction
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
