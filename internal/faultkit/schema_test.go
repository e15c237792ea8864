package faultkit

import (
	"crypto/rand"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
)

// held is logged when a batch has to wait.
const held = "database unavailable; retrying the batch"

// leastRights makes a role that may do what the worker needs and nothing else, and gives it to
// the next worker. It returns the role's name.
func (r *rig) leastRights() string {
	r.t.Helper()
	role := "worker_" + strings.ToLower(rand.Text())
	r.execute(fmt.Sprintf(`CREATE ROLE %[1]s LOGIN PASSWORD 'secret'; GRANT SELECT, INSERT, UPDATE ON positions TO %[1]s`, role))
	r.t.Cleanup(func() {
		servertest.Execute(r.t, r.database, fmt.Sprintf(`DROP OWNED BY %[1]s; DROP ROLE %[1]s`, role))
	})
	u, err := url.Parse(r.database)
	require.NoError(r.t, err)
	u.User = url.UserPassword(role, "secret")
	r.config.Database.URL = u.String()
	return role
}

// Schema or rights go wrong under a running worker: it holds what it has, stops reading, is not
// ready, says once what is wrong and how to fix it, and goes on by itself when it is fixed.
func TestSchema_GoesWrongUnderTheWorker(t *testing.T) {
	cases := map[string]struct {
		spoil, fix string // %s is the worker's role
		state      string // of the statement that fails before the next check of the schema
		problem    string // that the check finds
		hints      []string
	}{
		"dropped column": {
			`ALTER TABLE positions DROP COLUMN speed`, `ALTER TABLE positions ADD COLUMN speed real NOT NULL DEFAULT 0`,
			"42703", "column speed is missing", []string{"bring the column of positions back", "add column speed of type real"},
		},
		"missing table": {
			`ALTER TABLE positions RENAME TO elsewhere`, `ALTER TABLE elsewhere RENAME TO positions`,
			"42P01", "there is no table positions", []string{"run processor migrate up"},
		},
		"revoked right": {
			`REVOKE INSERT ON positions FROM %s`, `GRANT INSERT ON positions TO %s`,
			"42501", "lacks INSERT on positions", []string{"give the service's role the rights on positions", "GRANT INSERT ON positions TO"},
		},
		"column of another type": {
			`ALTER TABLE positions ALTER priority TYPE boolean USING priority > 0`, `ALTER TABLE positions ALTER priority TYPE smallint USING priority::integer::smallint`,
			"42804", "column priority is boolean, not smallint", []string{"undo the change to table positions; processor doctor names", "give column priority the type smallint"},
		},
		"column that has to be written": {
			`ALTER TABLE positions ADD COLUMN tenant text NOT NULL DEFAULT 'x'; ALTER TABLE positions ALTER tenant DROP DEFAULT`,
			`ALTER TABLE positions ALTER tenant SET DEFAULT 'x'`,
			"23502", "column tenant is NOT NULL without a default", []string{"give column tenant of positions a default", "let column tenant be null"},
		},
		"role that may not log in": {
			`ALTER ROLE %[1]s NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '%[1]s'`, `ALTER ROLE %s LOGIN`,
			"28000", "28000", []string{"correct the role and password"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			role := r.leastRights()
			r.publish(1000)
			w := r.start()
			r.awaitDrained()
			servertest.Until(t, "ready", w.ready)

			r.execute(filled(c.spoil, role))
			r.publish(1000)
			servertest.Until(t, "not ready", func() bool { return !w.ready() })
			servertest.Until(t, "it is logged", func() bool { return len(w.lines(held)) > 0 })
			servertest.Until(t, "it is tried again", func() bool { return w.metric(`processor_write_errors_total{class="schema"}`) > 4 })
			require.True(t, w.alive())
			servertest.Until(t, "it is known why", func() bool { return w.field(held, "class") == "schema" })
			servertest.Until(t, "batches are held for it", func() bool { return w.metric(`processor_batches_held{class="schema"}`) > 0 })
			requireAny(t, w.field(held, "error"), c.state, c.problem)
			requireAny(t, w.field(held, "hint"), c.hints...)
			servertest.Until(t, "readiness names it", func() bool { return strings.Contains(w.failing("schema"), c.problem) })
			_, body := w.get("/readyz")
			requireAny(t, body, c.hints...)
			require.LessOrEqual(t, w.metric("processor_entries_in_flight"), 500.0, "reading has stopped: four writers and a reader hold a batch each")
			require.Empty(t, r.letters())

			r.execute(filled(c.fix, role))
			r.awaitDrained()
			servertest.Until(t, "ready again", w.ready)
			for _, line := range w.lines(held)[1:] {
				require.NotEqual(t, w.lines(held)[0]["class"], line["class"], "once, however long it lasts")
			}
			require.Len(t, w.lines("database available again"), 1)
			require.Zero(t, w.metric("processor_batches_held"))
			require.Equal(t, 2000, w.stop().Inserted)
			switch name {
			case "dropped column", "column of another type": // the fix lost what was there
				require.Equal(t, "2000", r.rows())
			default:
				r.requireExact()
			}
		})
	}
}

// requireAny asserts that the text holds one of the parts.
func requireAny(t testing.TB, text string, parts ...string) {
	t.Helper()
	require.True(t, slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(text, part) }), "%q holds none of %q", text, parts)
}

func filled(statements, role string) string {
	if !strings.Contains(statements, "%") {
		return statements
	}
	return fmt.Sprintf(statements, role)
}

// tooMany makes the server refuse more rows a statement than it can take, as a limit of memory or
// of time would, and any statement with a device "heavy…".
const tooMany = `
CREATE FUNCTION too_many() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF (SELECT count(*) FROM written) > %d OR EXISTS (SELECT FROM written WHERE device_id LIKE 'heavy%%') THEN
		RAISE EXCEPTION 'too much at once' USING ERRCODE = '%s';
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER too_many AFTER INSERT ON positions
	REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION too_many()`

// A limit of the server: the batch is cut until it is small enough.
func TestLimit_BatchIsCut(t *testing.T) {
	for name, state := range map[string]string{"query_canceled": "57014", "out_of_memory": "53200", "configuration_limit_exceeded": "53400"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newPlainRig(t)
			r.execute(fmt.Sprintf(tooMany, 10, state))
			r.publish(500)
			w := r.start()
			r.awaitDrained()
			require.Greater(t, w.metric(`processor_write_errors_total{class="limit"}`), 30.0)
			require.Empty(t, w.lines(held))
			require.Equal(t, ledger{Read: 500, Inserted: 500, Balanced: true}, w.stop())
			r.requireExact()
		})
	}
}

// alone is logged when the server refuses a row by itself.
const alone = "entry parked; retrying while others go on"

// Rows that meet a limit alone wait and are reported, while everything else goes on, however many
// there are, and land when they can.
func TestLimit_RowsAreParked(t *testing.T) {
	t.Parallel()
	r := newPlainRig(t)
	r.config.ClaimIdle = time.Second // what waits is not taken over from oneself, again and again
	r.execute(fmt.Sprintf(tooMany, 1000, "57014"))
	var heavy [][]byte
	for i := range r.config.Writers + 2 { // in batches of their own, so that each worker meets one
		r.publish(r.config.BatchSize)
		record := r.record()
		payload := strings.Replace(string(record.Payload), record.DeviceID, fmt.Sprint("heavy", i), 1)
		r.add(payload)
		heavy = append(heavy, []byte(payload))
	}
	w := r.start()
	servertest.Until(t, "all other rows are there", func() bool { return r.rows() == "600" })
	servertest.Until(t, "it is reported", func() bool { return len(w.lines(alone)) == 1 })
	require.Equal(t, "limit", w.field(alone, "class"))
	require.Empty(t, r.letters())
	servertest.Until(t, "all else is acknowledged", func() bool { return r.pending() == int64(len(heavy)) })

	// What comes later does not wait for those rows.
	for range 3 {
		r.publish(100)
		rows := fmt.Sprint(len(r.published))
		servertest.Until(t, "later rows are there", func() bool { return r.rows() == rows })
	}
	servertest.Until(t, "not ready, since rows wait", func() bool { return !w.ready() })
	require.Len(t, w.lines(alone), 1, "once for all of them")
	require.Empty(t, w.lines(held), "no batch is held")
	require.Zero(t, w.metric("processor_batches_held"))
	require.Positive(t, w.metric(`processor_write_errors_total{class="limit"}`))

	r.execute(`DROP TRIGGER too_many ON positions`)
	r.published = append(r.published, heavy...)
	r.awaitDrained()
	servertest.Until(t, "ready again", w.ready)
	require.Len(t, w.lines("no entry is parked any more"), 1)
	total := 900 + len(heavy)
	require.Equal(t, ledger{Read: total, Inserted: total, Balanced: true}, w.stop())
	r.requireExact()
}

// The server cannot serve now, or another transaction was in the way: the same batch goes again for
// as long as it takes, and nothing is a dead letter. It is not ready after ten seconds, since a
// deadlock or a failover of seconds is no reason to be taken out.
func TestUnavailable_SameBatchAgain(t *testing.T) {
	states := map[string]string{
		"serialization_failure": "40001", "deadlock_detected": "40P01", "lock_not_available": "55P03",
		"too_many_connections": "53300", "admin_shutdown": "57P01",
	}
	for name, state := range states {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.execute(fmt.Sprintf(refuse, state))
			r.publish(50)
			odd := r.record()
			payload := strings.Replace(string(odd.Payload), odd.DeviceID, "odd", 1)
			r.add(payload)
			r.publish(50)
			r.published = append(r.published, []byte(payload))
			w := r.start()
			servertest.Until(t, "it is held", func() bool { return len(w.lines(held)) == 1 })
			began := time.Now()
			require.Equal(t, "unavailable", w.field(held, "class"))
			servertest.Until(t, "ready for now", w.ready)
			servertest.Until(t, "not ready", func() bool { return !w.ready() })
			require.Greater(t, time.Since(began), 8*time.Second)
			require.True(t, w.alive())
			_, body := w.get("/readyz")
			require.Contains(t, body, state)
			require.Empty(t, r.letters())
			require.Positive(t, r.pending(), "the batch is held")

			r.execute(`DROP TRIGGER refuse ON positions`)
			r.awaitDrained()
			servertest.Until(t, "ready again", w.ready)
			require.Len(t, w.lines(held), 1, "once, however long it lasts")
			require.Len(t, w.lines("database available again"), 1)
			l := w.stop()
			require.Equal(t, 101, l.Read, "nothing was delivered twice")
			require.Equal(t, 101, l.Inserted+l.Unchanged)
			r.requireExact()
		})
	}
}

// newPlainRig is a rig with a plain table, whatever the server has: hypertables take no
// transition tables.
func newPlainRig(t testing.TB) *rig {
	t.Helper()
	url, err := sandbox.PlainTableURL(servertest.Database(t))
	require.NoError(t, err)
	return newRigOn(t, servertest.Redis(t), url)
}

// Whatever becomes of the table, no position is acknowledged that is not there, and /readyz names it. What is missing
// is waited for; a plain table takes rows and is named as long as nobody has asked for one.
func TestSchema_TableIsReplacedUnderTheWorker(t *testing.T) {
	const copied = `CREATE TABLE positions (LIKE elsewhere INCLUDING ALL)`
	hypertable := servertest.HasTimescaleDB(t)
	for name, c := range map[string]struct {
		spoil, named, fix string
		stored            bool // in the plain table
		timescale         bool // the case needs the extension
	}{
		"renamed":      {`ALTER TABLE positions RENAME TO elsewhere`, "there is no table positions", `ALTER TABLE elsewhere RENAME TO positions`, false, false},
		"other schema": {`CREATE SCHEMA other; ALTER TABLE positions SET SCHEMA other`, "there is no table positions", `ALTER TABLE other.positions SET SCHEMA public`, false, false},
		"made anew, as a plain table": {`ALTER TABLE positions RENAME TO elsewhere; ` + copied, "positions is a plain table although the database has TimescaleDB",
			`INSERT INTO elsewhere SELECT * FROM positions; DROP TABLE positions; ALTER TABLE elsewhere RENAME TO positions`, false, true},
		"extension dropped": {`DROP EXTENSION timescaledb CASCADE`, "positions is a plain table, since the database has no TimescaleDB", `ALTER DATABASE %s SET processor.allow_plain_table = on`, true, true},
	} {
		if c.timescale && !hypertable {
			continue // plain PostgreSQL has no such case
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.publish(500)
			w := r.start()
			r.awaitDrained()
			servertest.Until(t, "ready", w.ready)

			r.execute(c.spoil)
			left := 0
			if c.stored { // TimescaleDB takes its chunks with it
				left = len(r.published)
				require.Equal(t, "0", r.rows())
			}
			r.publish(500)
			servertest.Until(t, "it is named", func() bool { return strings.Contains(w.failing("schema"), c.named) })
			require.Contains(t, w.failing("schema"), "Fix:")
			require.True(t, w.alive())
			if c.stored {
				r.awaitDrained()
			} else {
				r.publish(10) // what came before the check, within 2 s, may be in the table that was there
				servertest.Until(t, "entries wait", func() bool { return !r.drained() })
			}
			fix := c.fix
			if strings.Contains(fix, "%s") {
				fix = fmt.Sprintf(fix, r.ask("SELECT current_database()")[0])
			}
			r.execute(fix)
			if c.stored {
				r.execute(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'processor'`)
			}
			r.awaitDrained()
			servertest.Until(t, "ready again", w.ready)
			w.stop()
			r.published = r.published[left:]
			r.requireExact()
		})
	}
}
