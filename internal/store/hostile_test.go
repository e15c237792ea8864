package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/position"
	"processor/internal/servertest"
)

// A trigger refuses some rows with a state that is otherwise the server's, or ends its session: the others are
// stored at once, and the next batches do not wait to learn it.
func TestWriter_StoresTheRestWhateverTheStateSays(t *testing.T) {
	some := func(what string) string {
		return `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
			IF new.speed = 7 THEN ` + what + `; END IF; RETURN new; END $$;
			CREATE TRIGGER refuse BEFORE INSERT ON positions FOR EACH ROW EXECUTE FUNCTION refuse()`
	}
	causes := map[string]string{"ends its session": `PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(60)`}
	for _, state := range []string{"08001", "08006", "25006", "40001", "42P01", "42501", "53100", "53300", "55P03", "57P01", "57P03", "28000", "26000", "3D000"} {
		causes[state] = `RAISE EXCEPTION 'no' USING ERRCODE = '` + state + `'`
	}
	for name, cause := range causes {
		t.Run(name, func(t *testing.T) {
			url := plain(t, servertest.Database(t))
			servertest.Execute(t, url, some(cause))
			s, trouble := openTold(t, url)
			w := s.NewWriter()
			batch := func(n int) (batch []position.Position) {
				batch = devices(20)
				for i := range batch {
					batch[i].Timestamp = batch[i].Timestamp.Add(time.Duration(n) * time.Second)
				}
				batch[3].Speed, batch[11].Speed = 7, 7
				return batch
			}
			for n := range 3 {
				r, err := w.Write(t.Context(), Batch{Positions: batch(n)})
				require.NoError(t, err)
				require.Equal(t, 18, r.Inserted+r.Unchanged)
				require.Empty(t, r.Rejected)
				var parked []int
				for _, p := range r.Parked {
					parked = append(parked, p.Index)
				}
				require.ElementsMatch(t, []int{3, 11}, parked)
				if n > 0 {
					require.Empty(t, trouble, "only the first batch has to wait")
				}
				for len(trouble) > 0 {
					<-trouble
				}
			}
			require.Equal(t, "54", count(t, url))
			require.True(t, s.Healthy())
		})
	}
}

// A constraint that no row satisfies is dropped while a batch is being bisected: none of its rows is at fault.
func TestWriter_RejectsNothingForASchemaCorrectedMeanwhile(t *testing.T) {
	url := plain(t, servertest.Database(t))
	// The constraint ends by itself after some refusals: it stands for a person who drops it then.
	servertest.Execute(t, url, `CREATE SEQUENCE refused; CREATE FUNCTION impossible(real) RETURNS boolean LANGUAGE sql AS 'SELECT nextval(''refused'') > 150';
		ALTER TABLE positions ADD CONSTRAINT impossible CHECK (impossible(speed))`)
	s := open(t, url, Options{})
	batch := devices(300)
	r, err := s.NewWriter().Write(t.Context(), Batch{Positions: batch})
	require.NoError(t, err)
	require.Empty(t, r.Rejected)
	require.Equal(t, Result{Inserted: 300}, r)
	require.Equal(t, fmt.Sprint(300), count(t, url))
}

// Late rows of a chunk that refuses every one of them share a batch, and their devices, with live rows: those are
// stored at once, and the late ones are parked.
func TestWriter_StoresTheLiveDayBesideAChunkThatRefuses(t *testing.T) {
	for name, state := range map[string]string{"decompression limit": "53400", "frozen chunk": "P0001", "no such table": "42P01"} {
		t.Run(name, func(t *testing.T) {
			url := plain(t, servertest.Database(t))
			raise(t, url, `new.ts < now() - INTERVAL '8 days'`, state)
			s := open(t, url, Options{})
			now := time.Now().Truncate(time.Second)
			var batch []position.Position
			for i := range 1600 {
				p := at(fmt.Sprintf("d%03d", i%50), 0, 1, `{}`)
				p.Timestamp = now.Add(-20 * 24 * time.Hour).Add(-time.Duration(i) * time.Millisecond)
				if i%16 == 0 {
					p.Timestamp = now.Add(-time.Duration(i) * time.Microsecond)
				}
				batch = append(batch, p)
			}
			r, err := s.NewWriter().Write(t.Context(), Batch{Positions: batch})
			require.NoError(t, err)
			require.Equal(t, 100, r.Inserted)
			require.Empty(t, r.Rejected)
			require.Len(t, r.Parked, 1500)
			require.Equal(t, "100", count(t, url))
		})
	}
}
