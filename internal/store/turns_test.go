package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/position"
	"processor/internal/servertest"
)

// A batch of many days: the live rows are stored at once, the further days are parked, and are stored in transactions
// of few days each. Days that are known are not parked again.
func TestWriter_StoresLiveDaysFirst(t *testing.T) {
	url := servertest.Migrated(t)
	type commit struct {
		rows int
	}
	var commits []commit
	s := open(t, url, Options{Events: Events{Wrote: func(_ string, rows int, _ time.Duration) { commits = append(commits, commit{rows}) }}})
	w := s.NewWriter()
	today := time.Now().UTC().Truncate(24 * time.Hour)
	row := func(device string, day int) position.Position {
		p := at(device, 0, 1, `{}`)
		p.Timestamp = today.AddDate(0, 0, -day).Add(time.Hour)
		return p
	}
	const days = 60
	var batch []position.Position
	for day := range days {
		batch = append(batch, row("storm", day))
	}
	for i := range 20 {
		batch = append(batch, row(fmt.Sprint("live", i), 0))
	}
	got, err := w.Write(t.Context(), Batch{Positions: batch})
	require.NoError(t, err)
	require.Equal(t, maxChunks+20, got.Inserted)
	require.Len(t, got.Parked, days-maxChunks)
	require.ErrorIs(t, got.Parked[0].Err, ErrManyChunks)
	require.Equal(t, []commit{{maxChunks + 20}}, commits)

	commits = nil
	var parked Batch = pick(Batch{Positions: batch}, got.Parked)
	for len(parked.Positions) > 0 {
		got, err := w.Write(t.Context(), parked)
		require.NoError(t, err)
		require.NotZero(t, got.Inserted)
		parked = pick(parked, got.Parked)
	}
	for _, c := range commits {
		require.LessOrEqual(t, c.rows, maxChunks)
	}
	require.Equal(t, fmt.Sprint(days+20), count(t, url))

	for i := range batch {
		batch[i].Timestamp = batch[i].Timestamp.Add(time.Second)
	}
	got, err = w.Write(t.Context(), Batch{Positions: batch})
	require.NoError(t, err)
	require.Equal(t, Result{Inserted: days + 20}, got)
}

// Parked rows that each take long do not keep a Write for as long as all of them take, nor the other rows from their
// turn.
func TestWriter_TakesTurnsAmongParkedRows(t *testing.T) {
	url := plain(t, servertest.Database(t))
	raise(t, url, `NEW.device_id < 'd010'`, "57014")
	var pass func(time.Duration)
	attempts := 0
	s, clock := openWithClock(t, url, Options{Events: Events{Failed: func(Class) { attempts++; pass(300 * time.Millisecond) }}})
	pass = clock.add
	w := s.NewWriter()
	parked := Batch{Positions: devices(200), Parked: true}
	stored := 0
	for n := 0; stored < 190; n++ {
		require.Less(t, n, 60)
		attempts = 0
		got, err := w.Write(t.Context(), parked)
		require.NoError(t, err)
		require.LessOrEqual(t, attempts, 1+int(maxBisected/(300*time.Millisecond)))
		stored += got.Inserted
		require.Empty(t, got.Rejected)
		parked = pick(parked, got.Parked)
	}
	require.Len(t, parked.Positions, 10)
}
