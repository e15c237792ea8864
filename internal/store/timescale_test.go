package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/position"
	"processor/internal/servertest"
)

// refused is what a server does to rows of device aa of an old day, and how a person ends it.
type refused struct{ cause, end string }

// What TimescaleDB refuses of a batch, or a trigger where the server has no TimescaleDB, keeps no other row waiting
// although it sorts first: the others are stored at once, the refused rows are parked, none is lost, and all are stored
// when the cause is gone.
func TestWriter_StoresTheRestBesideAChunkThatRefuses(t *testing.T) {
	const old = `INSERT INTO positions SELECT 'aa', '2026-11-13 12:00+00'::timestamptz + n * INTERVAL '2 s', 0, 0, 0, 0, 1, 0, 0, '{}' FROM generate_series(0, 999) AS n;`
	trigger := func(state string) refused {
		return refused{fmt.Sprintf(`
			CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN
				IF NEW.device_id = 'aa' THEN RAISE EXCEPTION 'too much' USING ERRCODE = '%s'; END IF;
				RETURN NEW;
			END $$;
			CREATE TRIGGER refuse BEFORE INSERT ON positions FOR EACH ROW EXECUTE FUNCTION refuse()`, state), `DROP TRIGGER refuse ON positions`}
	}
	for name, c := range map[string]struct {
		timescaleDB, plain refused
		there              bool // the refused rows have keys that are there
	}{
		"frozen chunk": {
			refused{
				`SELECT _timescaledb_functions.freeze_chunk(c) FROM show_chunks('positions', older_than => '2026-11-15'::timestamptz) AS c`,
				`SELECT _timescaledb_functions.unfreeze_chunk(c) FROM show_chunks('positions', older_than => '2026-11-15'::timestamptz) AS c`,
			}, trigger("55000"), false,
		},
		"frozen compressed chunk": {
			refused{
				`SELECT _timescaledb_functions.freeze_chunk(compress_chunk(c)) FROM show_chunks('positions', older_than => '2026-11-15'::timestamptz) AS c`,
				`SELECT _timescaledb_functions.unfreeze_chunk(c) FROM show_chunks('positions', older_than => '2026-11-15'::timestamptz) AS c`,
			}, trigger("0A000"), false,
		},
		"decompression limit": {
			refused{
				`SELECT compress_chunk(c) FROM show_chunks('positions', older_than => '2026-11-15'::timestamptz) AS c;
				 DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timescaledb.max_tuples_decompressed_per_dml_transaction = 1', current_database()); END $$`,
				`SELECT decompress_chunk(c) FROM show_chunks('positions', older_than => '2026-11-15'::timestamptz) AS c`,
			}, trigger("53400"), true,
		},
		"trigger":              {trigger("P0001"), trigger("P0001"), false},
		"trigger, redelivered": {trigger("P0001"), trigger("P0001"), true},
	} {
		t.Run(name, func(t *testing.T) {
			url := servertest.Migrated(t)
			servertest.Execute(t, url, old)
			how := c.plain
			if servertest.HasTimescaleDB(t) {
				how = c.timescaleDB
			}
			servertest.Execute(t, url, how.cause)
			s, _ := openWithClock(t, url, Options{})
			w := s.NewWriter()
			var parked []position.Position
			const rounds, bad, good = 5, 5, 195
			for round := range rounds {
				batch := devices(good)
				for i := range batch {
					batch[i].Timestamp = batch[i].Timestamp.Add(time.Duration(round) * time.Second)
				}
				for i := range bad {
					second := 2 * (bad*round + i)
					if !c.there {
						second++
					}
					p := at("aa", second, 2, `{"late": true}`)
					p.Timestamp = p.Timestamp.AddDate(0, 0, -10)
					batch = append(batch, p)
				}
				got, err := w.Write(t.Context(), Batch{Positions: batch})
				require.NoError(t, err)
				require.Empty(t, got.Rejected)
				require.Equal(t, good, got.Inserted)
				require.Len(t, got.Parked, bad)
				parked = append(parked, pick(Batch{Positions: batch}, got.Parked).Positions...)
			}
			require.True(t, s.Healthy())
			require.Equal(t, fmt.Sprint(1000+rounds*good), count(t, url))
			again, err := s.NewWriter().Write(t.Context(), Batch{Positions: parked, Parked: true})
			require.NoError(t, err)
			require.Len(t, again.Parked, rounds*bad)

			servertest.Execute(t, url, how.end)
			got, err := s.NewWriter().Write(t.Context(), Batch{Positions: parked, Parked: true})
			require.NoError(t, err)
			if c.there {
				require.Equal(t, Result{Merged: rounds * bad}, got)
			} else {
				require.Equal(t, Result{Inserted: rounds * bad}, got)
			}
			require.Equal(t, []string{fmt.Sprint(rounds * bad)}, servertest.Ask(t, url, `SELECT count(*)::text FROM positions WHERE device_id = 'aa' AND attributes = '{"late": true}'`))
			require.Equal(t, fmt.Sprint(1000+rounds*good+got.Inserted), count(t, url))
		})
	}
}
