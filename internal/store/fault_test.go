package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/position"
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

// Rows that sort first and are refused for whatever reason keep no other row of their batch waiting, many or few.
func TestWriter_TriesTheRestFirst(t *testing.T) {
	for _, state := range []string{"P0001", "57014", "53200", "54000", "42P01", "40001", "55P03", "53100", "XX000", "55000", "42501"} {
		for _, bad := range []int{5, 70} {
			t.Run(fmt.Sprint(state, " ", bad), func(t *testing.T) {
				url := plain(t, servertest.Database(t))
				raise(t, url, fmt.Sprintf(`NEW.device_id < 'd%03d'`, bad), state)
				s, _ := openWithClock(t, url, Options{})
				w := s.NewWriter()
				second := 0
				write := func() Result {
					batch := devices(200)
					for i := range batch {
						batch[i].Timestamp = batch[i].Timestamp.Add(time.Duration(second) * time.Second)
					}
					second++
					got, err := w.Write(t.Context(), Batch{Positions: batch})
					require.NoError(t, err)
					return got
				}
				for range 3 {
					got := write()
					require.Equal(t, 200-bad, got.Inserted)
					if state == "54000" {
						require.Len(t, got.Rejected, bad)
					} else {
						require.Len(t, got.Parked, bad)
					}
				}
				require.True(t, s.Healthy())
				require.Equal(t, fmt.Sprint(3*(200-bad)), count(t, url))
			})
		}
	}
}

// Where the server takes no row of a large batch, it is not bisected to the end, and goes on by itself.
func TestWriter_SpendsLittleOnABatchOfWhichEveryRowFails(t *testing.T) {
	url := plain(t, servertest.Database(t))
	raise(t, url, `TRUE`, "P0001")
	trouble, attempts := make(chan error, 10_000), atomic.Int64{}
	s := open(t, url, Options{Events: Events{
		Failed: func(Class) { attempts.Add(1) },
		Trouble: func(_ Class, err error) {
			if err != nil {
				trouble <- err
			}
		},
	}})
	const rows = 2500
	written := make(chan Result, 1)
	go func() {
		r, _ := s.NewWriter().Write(t.Context(), Batch{Positions: devices(rows)})
		written <- r
	}()
	servertest.Within(t, trouble)
	require.Less(t, attempts.Load(), int64(50))
	require.Equal(t, "0", count(t, url))
	servertest.Execute(t, url, `DROP TRIGGER refuse ON positions`)
	require.Equal(t, rows, servertest.Within(t, written).Inserted)
	require.Equal(t, fmt.Sprint(rows), count(t, url))
}

// Where the table takes no row and rejects those of several devices for one reason, the schema is at fault: nothing is
// rejected, a bounded number is parked, batches are held, the constraint is named, and it goes on by itself.
func TestWriter_HoldsWhatASchemaRejectsAltogether(t *testing.T) {
	for name, c := range map[string]struct{ spoil, fix, names string }{
		"check":       {`ALTER TABLE positions ADD CONSTRAINT slow CHECK (speed < 0) NOT VALID`, `ALTER TABLE positions DROP CONSTRAINT slow`, "constraint slow"},
		"other check": {`ALTER TABLE positions ADD CONSTRAINT north CHECK (latitude > 89)`, `ALTER TABLE positions DROP CONSTRAINT north`, "constraint north"},
		"foreign key": {`CREATE TABLE device (id text COLLATE "C" PRIMARY KEY); ALTER TABLE positions ADD CONSTRAINT known FOREIGN KEY (device_id) REFERENCES device`, `ALTER TABLE positions DROP CONSTRAINT known`, "constraint known"},
		"type":        {`ALTER TABLE positions ALTER latitude TYPE numeric(3, 3)`, `ALTER TABLE positions ALTER latitude TYPE double precision`, "22003"},
		"domain":      {`CREATE DOMAIN small AS real CONSTRAINT tiny CHECK (value < 0); ALTER TABLE positions ALTER speed TYPE small`, `ALTER TABLE positions ALTER speed TYPE real`, "constraint tiny"},
		"text":        {`ALTER TABLE positions ALTER device_id TYPE varchar(2)`, `ALTER TABLE positions ALTER device_id TYPE text`, "22001"},
		"exclusion":   {`ALTER TABLE positions ADD CONSTRAINT once EXCLUDE (altitude WITH =); INSERT INTO positions VALUES ('b', '2026-11-23', 0, 0, 0, 0, 1, 0, 0, '{}')`, `ALTER TABLE positions DROP CONSTRAINT once; DELETE FROM positions`, "constraint once"},
		"unique":      {`ALTER TABLE positions ADD CONSTRAINT one UNIQUE (altitude); INSERT INTO positions VALUES ('b', '2026-11-23', 0, 0, 0, 0, 1, 0, 0, '{}')`, `ALTER TABLE positions DROP CONSTRAINT one; DELETE FROM positions`, "constraint one"},
	} {
		t.Run(name, func(t *testing.T) {
			url := plain(t, servertest.Database(t))
			servertest.Execute(t, url, c.spoil)
			s, trouble := openTold(t, url)
			w := s.NewWriter()
			var parked []position.Position
			batch := func(second int) []position.Position {
				batch := devices(100)
				for i := range batch {
					batch[i].Timestamp = batch[i].Timestamp.Add(time.Duration(second) * time.Second)
				}
				return batch
			}
			total, held := 0, make(chan Result, 1)
			for ; total < 20; total++ {
				go func() {
					r, _ := w.Write(t.Context(), Batch{Positions: batch(total)})
					held <- r
				}()
				var r Result
				select {
				case r = <-held:
				case err := <-trouble:
					require.Equal(t, Schema, Classify(err))
					require.Contains(t, err.Error(), c.names)
					require.Contains(t, err.Error(), "Fix:")
				}
				if len(r.Parked) == 0 {
					break
				}
				require.Len(t, r.Parked, 100)
				require.Equal(t, Schema, Classify(r.Parked[0].Err))
				require.Contains(t, r.Parked[0].Err.Error(), c.names)
				for _, p := range r.Parked {
					parked = append(parked, batch(total)[p.Index])
				}
			}
			require.LessOrEqual(t, len(parked), maxUnprovenRejected)
			require.False(t, s.Healthy())
			servertest.Execute(t, url, c.fix)
			require.Equal(t, Result{Inserted: 100}, servertest.Within(t, held))
			if len(parked) > 0 {
				got := writeAll(t, w, parked) // as fresh rows
				require.Equal(t, Result{Inserted: len(parked)}, got)
			}
			require.Equal(t, fmt.Sprint(100*(total+1)), count(t, url))
		})
	}
}

// One device of which every row is bad, or one batch, is no fault of the schema.
func TestWriter_RejectsADeviceOfWhichEveryRowIsBad(t *testing.T) {
	url := plain(t, servertest.Database(t))
	servertest.Execute(t, url, `ALTER TABLE positions ADD CONSTRAINT plausible CHECK (speed < 500)`)
	s, _ := openWithClock(t, url, Options{})
	w := s.NewWriter()
	for second := range 3 {
		var batch []position.Position
		for i := range 100 {
			p := at("same", 0, 600, `{}`)
			p.Timestamp = p.Timestamp.Add(time.Duration(100*second+i) * time.Second)
			batch = append(batch, p)
		}
		got, err := w.Write(t.Context(), Batch{Positions: batch})
		require.NoError(t, err)
		require.Len(t, got.Rejected, 100)
	}

	// A batch of bad rows of a hundred devices is parked until another row is stored; then they are rejected.
	batch := Batch{Positions: devices(100)}
	for i := range batch.Positions {
		batch.Positions[i].Speed = 600
	}
	got, err := w.Write(t.Context(), batch)
	require.NoError(t, err)
	require.Empty(t, got.Rejected)
	require.Len(t, got.Parked, 100)
	parked := pick(batch, got.Parked)
	got, err = s.NewWriter().Write(t.Context(), parked)
	require.NoError(t, err)
	require.Len(t, got.Parked, 100, "still nothing proves the schema")
	_, err = w.Write(t.Context(), Batch{Positions: []position.Position{at("good", 1, 1, `{}`)}})
	require.NoError(t, err)
	got, err = s.NewWriter().Write(t.Context(), parked)
	require.NoError(t, err)
	require.Len(t, got.Rejected, 100)
	require.True(t, s.Healthy())
}

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

// What is parked says no more than is known: a constraint is blamed for every row of several devices only where
// several rows of several devices met it.
func TestWriter_BlamesAConstraintForWhatItRefused(t *testing.T) {
	ofOneDevice := devices(20)
	for i := range ofOneDevice {
		ofOneDevice[i].DeviceID = "one"
		ofOneDevice[i].Timestamp = ofOneDevice[i].Timestamp.Add(time.Duration(i) * time.Second)
	}
	for name, c := range map[string]struct {
		batch  []position.Position
		schema bool
	}{
		"one row":               {devices(1), false},
		"few rows":              {devices(suspectRows - 1), false},
		"many rows of a device": {ofOneDevice, false},
		"several of several":    {devices(suspectRows), true},
	} {
		for why, spoil := range map[string]string{
			"unique index": `ALTER TABLE positions ADD CONSTRAINT one UNIQUE (altitude); INSERT INTO positions VALUES ('x', '2026-11-23', 0, 0, 0, 0, 1, 0, 0, '{}')`,
			"trigger": `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no' USING CONSTRAINT = 'one'; END $$;
				CREATE TRIGGER refuse BEFORE INSERT ON positions FOR EACH ROW EXECUTE FUNCTION refuse()`,
		} {
			t.Run(name+", "+why, func(t *testing.T) {
				url := plain(t, servertest.Database(t))
				servertest.Execute(t, url, spoil)
				s := open(t, url, Options{})
				for i := range c.batch {
					c.batch[i].Altitude = 0
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				r, err := s.NewWriter().Write(ctx, Batch{Positions: c.batch})
				require.NoError(t, err)
				require.Len(t, r.Parked, len(c.batch))
				for _, p := range r.Parked {
					var schemaErr *SchemaError
					require.Equal(t, c.schema, errors.As(p.Err, &schemaErr), p.Err)
					require.Equal(t, c.schema, strings.Contains(p.Err.Error(), "every row of several devices"), p.Err)
				}
			})
		}
	}
}
