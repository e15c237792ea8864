package store

import (
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/position"
	"processor/internal/servertest"
)

// Batch.Fresh is true of what was certainly not there before: of every new row by COPY and plain insert, also
// where bad rows are searched for, and of no other.
func TestWriter_SaysWhatIsFresh(t *testing.T) {
	const many = 600 // more than go by the plain insert
	for _, n := range []int{3, many} {
		url := servertest.Migrated(t)
		servertest.Execute(t, url, `ALTER TABLE positions ADD CONSTRAINT plausible CHECK (speed < 500)`)
		write := func(b Batch) (fresh int, flags []bool, r Result) {
			b.Fresh = make([]bool, len(b.Positions))
			s := open(t, url, Options{}) // a new one, which remembers no duplicates
			r, err := s.NewWriter().Write(t.Context(), b)
			require.NoError(t, err)
			for _, is := range b.Fresh {
				if is {
					fresh++
				}
			}
			return fresh, b.Fresh, r
		}
		fresh, _, r := write(Batch{Positions: devices(n)})
		require.Equal(t, Result{Inserted: n}, r)
		require.Equal(t, n, fresh)

		fresh, _, r = write(Batch{Positions: devices(n)})
		require.Equal(t, Result{Unchanged: n}, r, "all are there")
		require.Zero(t, fresh)

		others := devices(n)
		for i := range others {
			others[i].DeviceID = "redelivered " + others[i].DeviceID
		}
		fresh, _, r = write(Batch{Positions: others, Redelivered: true})
		require.Equal(t, Result{Inserted: n}, r)
		require.Zero(t, fresh, "the upsert cannot tell")

		searched := devices(n)
		for i := range searched {
			searched[i].DeviceID = "searched " + searched[i].DeviceID
		}
		searched[1].Speed = 900
		fresh, flags, r := write(Batch{Positions: searched})
		require.Equal(t, n-1, r.Inserted)
		require.Len(t, r.Rejected, 1)
		require.False(t, flags[1])
		require.LessOrEqual(t, fresh, n-1)
		if n == many {
			require.Greater(t, fresh, n/2, "most of them were stored by COPY or the plain insert")
		}

		twice := []position.Position{at("twice", 1, 1, `{}`), at("twice", 1, 1, `{"a":1}`), at("once", 1, 1, `{}`)}
		fresh, _, r = write(Batch{Positions: twice})
		require.Equal(t, Result{Inserted: 2, Merged: 1}, r)
		require.Zero(t, fresh, "a key that occurs twice goes by upsert")
	}
}
