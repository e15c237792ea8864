package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/servertest"
)

// count returns how many rows there are.
func count(t testing.TB, url string) string {
	return servertest.Ask(t, url, `SELECT count(*)::text FROM positions`)[0]
}

// held starts a Write that must not end yet, waits until its batch is held twice, and returns why.
func held(t testing.TB, s *Store, trouble <-chan error, batch Batch) (written <-chan Result, why error) {
	results := make(chan Result, 1)
	go func() {
		r, _ := s.NewWriter().Write(t.Context(), batch)
		results <- r
	}()
	for range 2 {
		why = servertest.Within(t, trouble)
	}
	return results, why
}

func openTold(t testing.TB, url string) (*Store, chan error) {
	trouble := make(chan error, 10_000)
	return open(t, url, Options{Writers: 2, Events: Events{Trouble: func(_ Class, err error) {
		if err != nil {
			trouble <- err
		}
	}}}), trouble
}

// Whatever happens to the unique index between two batches, no row is stored twice: neither by COPY nor by the
// plain insert. An index in the other order serves as well.
func TestWriter_StoresNothingTwiceWithoutTheIndex(t *testing.T) {
	for name, c := range map[string]struct {
		ddl  string
		held bool
	}{
		"dropped":                   {`ALTER TABLE positions DROP CONSTRAINT positions_pkey`, true},
		"partial":                   {`ALTER TABLE positions DROP CONSTRAINT positions_pkey; CREATE UNIQUE INDEX ON positions (device_id, ts) WHERE speed > 0`, true},
		"with a further column":     {`ALTER TABLE positions DROP CONSTRAINT positions_pkey; CREATE UNIQUE INDEX ON positions (device_id, ts, speed)`, true},
		"not unique":                {`ALTER TABLE positions DROP CONSTRAINT positions_pkey; CREATE INDEX ON positions (device_id, ts)`, true},
		"key and included":          {`ALTER TABLE positions DROP CONSTRAINT positions_pkey; CREATE UNIQUE INDEX ON positions (device_id, speed) INCLUDE (ts)`, true},
		"deferrable":                {`ALTER TABLE positions DROP CONSTRAINT positions_pkey; ALTER TABLE positions ADD UNIQUE (device_id, ts) DEFERRABLE INITIALLY DEFERRED`, true},
		"an index instead":          {`ALTER TABLE positions DROP CONSTRAINT positions_pkey; CREATE UNIQUE INDEX ON positions (device_id, ts)`, false},
		"in the other order":        {`ALTER TABLE positions DROP CONSTRAINT positions_pkey; CREATE UNIQUE INDEX ON positions (ts, device_id)`, false},
		"with one included besides": {`ALTER TABLE positions DROP CONSTRAINT positions_pkey; CREATE UNIQUE INDEX ON positions (device_id, ts) INCLUDE (speed)`, false},
	} {
		for _, rows := range []int{100, maxInserted + 100} {
			t.Run(fmt.Sprint(name, " ", rows), func(t *testing.T) {
				url := plain(t, servertest.Database(t))
				s, trouble := openTold(t, url)
				batch := Batch{Positions: devices(rows)}
				got, err := s.NewWriter().Write(t.Context(), batch)
				require.NoError(t, err)
				require.Equal(t, Result{Inserted: rows}, got)
				servertest.Execute(t, url, c.ddl)
				s.memory.upserts = countdown{} // the next batch is the first of its kind
				if !c.held {
					got, err := s.NewWriter().Write(t.Context(), batch)
					require.NoError(t, err)
					require.Equal(t, Result{Unchanged: rows}, got)
					return
				}
				written, why := held(t, s, trouble, batch)
				require.Equal(t, Schema, Classify(why))
				require.Regexp(t, `SQLSTATE (42P10|55000)`, why.Error())
				require.Equal(t, fmt.Sprint(rows), count(t, url))
				servertest.Execute(t, url, `ALTER TABLE positions DROP CONSTRAINT IF EXISTS positions_device_id_ts_key; CREATE UNIQUE INDEX ON positions (device_id, ts)`)
				require.Equal(t, Result{Unchanged: rows}, servertest.Within(t, written))
				require.Equal(t, fmt.Sprint(rows), count(t, url))
			})
		}
	}
}

// Row-level security refuses COPY and takes the upsert: rows are stored, nothing is held or counted as an error, and
// COPY is not tried before each batch.
func TestWriter_StoresWhereCopyAloneIsRefused(t *testing.T) {
	url := plain(t, servertest.Database(t))
	through := role(t, url, "")
	servertest.Execute(t, url, `GRANT SELECT, INSERT, UPDATE ON positions TO PUBLIC; ALTER TABLE positions ENABLE ROW LEVEL SECURITY;
		CREATE POLICY everything ON positions USING (TRUE) WITH CHECK (TRUE)`)
	var paths []string
	s := open(t, through, Options{Events: Events{
		Wrote:   func(path string, _ int, _ time.Duration) { paths = append(paths, path) },
		Failed:  func(c Class) { require.Fail(t, "an error", c) },
		Trouble: func(c Class, _ error) { require.Fail(t, "held", c) },
	}})
	w := s.NewWriter()
	const rows = maxInserted + 1
	for second := range 3 {
		batch := devices(rows)
		for i := range batch {
			batch[i].Timestamp = batch[i].Timestamp.Add(time.Duration(second) * time.Second)
		}
		got, err := w.Write(t.Context(), Batch{Positions: batch})
		require.NoError(t, err)
		require.Equal(t, Result{Inserted: rows}, got)
	}
	require.Equal(t, []string{PathUpsert, PathUpsert, PathUpsert}, paths)
	require.Equal(t, minUpserts-2, s.memory.upserts.left, "COPY was tried once")
}

// Rows that the server reports as written and that are not there are parked, whatever made them vanish, and stored
// when they can be. Neither COPY nor the plain insert nor the upsert counts them.
func TestWriter_ParksWhatIsNotThere(t *testing.T) {
	trigger := func(when, body string) string {
		return fmt.Sprintf(`CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN %s END $$;
			CREATE TRIGGER spoil %s ON positions FOR EACH ROW EXECUTE FUNCTION spoil()`, body, when)
	}
	for name, ddl := range map[string]string{
		"BEFORE returns NULL":    trigger(`BEFORE INSERT`, `IF NEW.device_id = 'd001' THEN RETURN NULL; END IF; RETURN NEW;`),
		"AFTER deletes":          trigger(`AFTER INSERT`, `IF NEW.device_id = 'd001' THEN DELETE FROM positions WHERE device_id = 'd001'; END IF; RETURN NULL;`),
		"BEFORE changes the key": trigger(`BEFORE INSERT`, `IF NEW.device_id = 'd001' THEN NEW.device_id := 'other'; END IF; RETURN NEW;`),
	} {
		for _, rows := range []int{3, maxInserted + 1} {
			for _, redelivered := range []bool{false, true} {
				t.Run(fmt.Sprint(name, " ", rows, " ", redelivered), func(t *testing.T) {
					url := servertest.Migrated(t)
					servertest.Execute(t, url, ddl)
					w := open(t, url, Options{}).NewWriter()
					batch := Batch{Positions: devices(rows), Redelivered: redelivered}
					for _, want := range []Result{{Inserted: rows - 1}, {Unchanged: rows - 1}} {
						got, err := w.Write(t.Context(), batch)
						require.NoError(t, err)
						require.Len(t, got.Parked, 1)
						require.Equal(t, 1, got.Parked[0].Index)
						require.ErrorIs(t, got.Parked[0].Err, errNotStored)
						require.Equal(t, Unexpected, Classify(got.Parked[0].Err))
						got.Parked = nil
						if name == "AFTER deletes" { // which of the rows was inserted, and deleted, the counts do not say
							want.Inserted, want.Unchanged = got.Inserted, rows-1-got.Inserted
						}
						require.Equal(t, want, got)
					}
					parked := Batch{Positions: batch.Positions[1:2], Parked: true}
					got, err := w.Write(t.Context(), parked)
					require.NoError(t, err)
					require.Len(t, got.Parked, 1)

					servertest.Execute(t, url, `DROP TRIGGER spoil ON positions`)
					got, err = w.Write(t.Context(), parked)
					require.NoError(t, err)
					require.Equal(t, Result{Inserted: 1}, got)
					require.Equal(t, []string{"1"}, servertest.Ask(t, url, `SELECT count(*)::text FROM positions WHERE device_id = 'd001'`))
				})
			}
		}
	}
}
