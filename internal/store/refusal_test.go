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
