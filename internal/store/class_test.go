package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"processor/internal/faultkit"
	"processor/internal/position"
	"processor/internal/servertest"
)

func TestClassify_EveryCode(t *testing.T) {
	cases := map[Class][]string{
		Unavailable: {"08000", "08003", "08006", "08P01", "40001", "40P01", "53000", "53100", "53300", "55P03", "57P01", "57P02", "57P03", "25006"},
		BadRow:      {"22000", "22001", "22003", "22008", "22021", "22P02", "22P03", "22P05", "23502", "23503", "23514", "54000", "54001", "54011"},
		Schema:      {"42P01", "42703", "42804", "42P10", "3F000", "3D000", "28000", "28P01", "42501", "42883", "42601", "26000", "42P05"},
		Limit:       {"53400", "53200", "57014"},
		Unexpected:  {"23505", "23P01", "0A000", "21000", "55000", "P0001", "XX000", "57000", "53xxx", "", "nonsense"},
	}
	require.Len(t, Classes(), len(cases)+1, "and Canceled, which has no code")
	for class, codes := range cases {
		for _, code := range codes {
			err := fmt.Errorf("write: %w", &pgconn.PgError{Code: code})
			require.Equal(t, class, Classify(err), code)
			require.False(t, outcomeUnknown(err), "the server has answered: %s", code)
		}
	}
}

func TestClassify_ErrorsWithoutACode(t *testing.T) {
	cases := map[string]struct {
		err     error
		class   Class
		unknown bool
	}{
		"the caller gave up":                    {fmt.Errorf("write: %w", context.Canceled), Canceled, true},
		"the attempt took too long":             {fmt.Errorf("write: %w", context.DeadlineExceeded), Unavailable, true},
		"the connection broke":                  {fmt.Errorf("write: %w", &net.OpError{Op: "read", Err: net.ErrClosed}), Unavailable, true},
		"no connection could be made":           {notSent{&net.OpError{Op: "dial", Err: errors.New("connection refused")}}, Unavailable, false},
		"it was committed on the primary alone": {errNotReplicated, Unavailable, true},
		"no connection came in time":            {notSent{context.DeadlineExceeded}, Unavailable, false},
		"the server refused to connect":         {notSent{&pgconn.PgError{Code: "28P01"}}, Schema, false},
	}
	for name, c := range cases {
		require.Equal(t, c.class, Classify(c.err), name)
		require.Equal(t, c.unknown, outcomeUnknown(c.err), name)
	}
}

// Errors of a real server, provoked through what the service itself sends where that can be.
func TestClassify_RealErrors(t *testing.T) {
	good := at("a", 1, 1, `{"x": 1}`)
	with := func(change func(*position.Position)) func(t testing.TB, url string) error {
		return func(t testing.TB, url string) error {
			p := good
			change(&p)
			return upsertOnce(t, url, p)
		}
	}
	after := func(ddl string) func(t testing.TB, url string) error {
		return func(t testing.TB, url string) error {
			servertest.Execute(t, url, ddl)
			return upsertOnce(t, url, good)
		}
	}
	statement := func(sql ...string) func(t testing.TB, url string) error {
		return func(t testing.TB, url string) error {
			conn := servertest.Connect(t, url)
			for _, s := range sql[:len(sql)-1] {
				_, err := conn.Exec(t.Context(), s)
				require.NoError(t, err)
			}
			_, err := conn.Exec(t.Context(), sql[len(sql)-1])
			return err
		}
	}
	cases := map[string]struct {
		provoke func(t testing.TB, url string) error
		state   string
		class   Class
	}{
		"not null":                 {with(func(p *position.Position) { p.Attributes = nil }), "23502", BadRow},
		"not null, not our column": {after(`ALTER TABLE positions ADD COLUMN tenant text NOT NULL`), "23502", Schema},
		"check":                    {after(`ALTER TABLE positions ADD CHECK (speed > 1)`), "23514", BadRow},
		"foreign key":              {after(`CREATE TABLE devices (id text COLLATE "C" PRIMARY KEY); ALTER TABLE positions ADD FOREIGN KEY (device_id) REFERENCES devices`), "23503", BadRow},
		"another unique index":     {after(`INSERT INTO positions VALUES ('b', now(), 0, 0, 0, 0, 1, 0, 0, '{}'); CREATE UNIQUE INDEX ON positions (speed)`), "23505", Unexpected},
		"exclusion":                {after(`INSERT INTO positions VALUES ('b', now(), 0, 0, 0, 0, 1, 0, 0, '{}'); ALTER TABLE positions ADD EXCLUDE (speed WITH =)`), "23P01", Unexpected},
		"zero byte in text":        {with(func(p *position.Position) { p.DeviceID = "a\x00b" }), "22021", BadRow},
		"not UTF-8":                {with(func(p *position.Position) { p.DeviceID = "a\xff" }), "22021", BadRow},
		"U+0000 in jsonb":          {with(func(p *position.Position) { p.Attributes = []byte(`{"x": "\u0000"}`) }), "22P05", BadRow},
		"not JSON":                 {with(func(p *position.Position) { p.Attributes = []byte(`{`) }), "22P02", BadRow},
		"number too large":         {after(`ALTER TABLE positions ALTER speed TYPE numeric(1, 1)`), "22003", BadRow},
		"text too long": {func(t testing.TB, url string) error {
			servertest.Execute(t, url, `ALTER TABLE positions ALTER device_id TYPE varchar(2)`)
			p := good
			p.DeviceID = "abc"
			return upsertOnce(t, url, p)
		}, "22001", BadRow},
		"index row too large":         {with(func(p *position.Position) { p.DeviceID = noise(10_000) }), "54000", BadRow},
		"table missing":               {after(`DROP TABLE positions`), "42P01", Schema},
		"column missing":              {after(`ALTER TABLE positions DROP COLUMN speed`), "42703", Schema},
		"column of another type":      {after(`ALTER TABLE positions ALTER speed TYPE boolean USING true`), "42804", Schema},
		"column without the operator": {after(`ALTER TABLE positions ALTER attributes TYPE json`), "42883", Schema},
		"primary key missing":         {after(`ALTER TABLE positions DROP CONSTRAINT positions_pkey`), "42P10", Schema},
		"right missing":               {withoutRights, "42501", Schema},
		"schema missing":              {statement(`CREATE TABLE nowhere.positions ()`), "3F000", Schema},
		"prepared statement missing":  {statement(`EXECUTE nothing`), "26000", Schema},
		"prepared statement twice":    {statement(`PREPARE one AS SELECT 1`, `PREPARE one AS SELECT 1`), "42P05", Schema},
		"wrong password":              {connecting(func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "wrong") }), "28P01", Schema},
		"role missing":                {connecting(func(u *url.URL) { u.User = url.UserPassword("nobody_here", "wrong") }), "28P01", Schema},
		"database missing":            {connecting(func(u *url.URL) { u.Path = "nothing_here" }), "3D000", Schema},
		"too many connections":        {noConnectionLeft, "53300", Unavailable},
		"serialization failure":       {serializationConflict, "40001", Unavailable},
		"deadlock":                    {deadlock, "40P01", Unavailable},
		"lock timeout":                {lockTimeout, "55P03", Unavailable},
		"terminated":                  {terminated, "57P01", Unavailable},
		"read-only transaction":       {statement(`SET default_transaction_read_only = on`, `DELETE FROM positions`), "25006", Unavailable},
		"statement timeout":           {statement(`SET statement_timeout = 10`, `SELECT pg_sleep(60)`), "57014", Limit},
		"temporary file limit":        {statement(`SET work_mem = '64kB'`, `SET temp_file_limit = '64kB'`, `SELECT count(DISTINCT n) FROM generate_series(1, 100000) AS n`), "53400", Limit},
		"raised by somebody's trigger": {after(`
			CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
			CREATE TRIGGER refuse BEFORE INSERT ON positions FOR EACH ROW EXECUTE FUNCTION refuse()`), "P0001", Unexpected},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := c.provoke(t, plain(t, servertest.Database(t)))
			require.Error(t, err)
			require.Equal(t, c.state, SQLState(err), "%v", err)
			require.Equal(t, c.class, Classify(err), "%v", err)
			require.False(t, outcomeUnknown(err), "%v", err)
			if c.class == Schema && strings.HasPrefix(name, "prepared") {
				require.Contains(t, Hint(err), "default_query_exec_mode=cache_describe")
			}
			passes := []string{serializationFailure, deadlockDetected, adminShutdown}
			helped := c.class != BadRow && !slices.Contains(passes, c.state)
			require.Equal(t, helped, Hint(err) != "", "a person must know what to do, and only then")
		})
	}
}

// Whether a commit happened is unknown only where the connection broke after the request.
func TestOutcomeUnknown_OnABrokenConnection(t *testing.T) {
	database := plain(t, servertest.Database(t))
	proxy, through := faultkit.ProxyFor(t, database)
	s := open(t, through, Options{})
	for path, fresh := range map[string]bool{PathCopy: true, PathUpsert: false} {
		for name, answered := range map[string]bool{"request lost": false, "answer lost": true} {
			t.Run(path+", "+name, func(t *testing.T) {
				before := servertest.Ask(t, database, allRows)
				sprung := proxy.Set(faultkit.Trap{At: faultkit.Commit, Answered: answered})
				err := attemptOnce(t, s, fresh, at(path+name, 1, 1, `{}`))
				require.Error(t, err)
				servertest.Within(t, sprung)
				require.Equal(t, Unavailable, Classify(err))
				require.True(t, outcomeUnknown(err))
				wrote := 0
				if answered {
					wrote = 1
				}
				require.Len(t, servertest.Ask(t, database, allRows), len(before)+wrote)
			})
		}
	}
	proxy.Refuse()
	err := attemptOnce(t, s, true, at("refused", 1, 1, `{}`))
	require.Error(t, err)
	require.Equal(t, Unavailable, Classify(err))
	require.False(t, outcomeUnknown(err), "nothing was sent")
}

// A NOT NULL column that somebody added is no fault of the rows: none is rejected.
func TestWriter_HoldsRowsThatLackAForeignColumn(t *testing.T) {
	url := servertest.Migrated(t)
	servertest.Execute(t, url, `ALTER TABLE positions ADD COLUMN tenant text NOT NULL DEFAULT 'x'; ALTER TABLE positions ALTER tenant DROP DEFAULT`)
	trouble := make(chan error, 1000)
	w := open(t, url, Options{Events: Events{Trouble: func(_ Class, err error) { trouble <- err }}}).NewWriter()
	written := make(chan Result)
	go func() {
		r, _ := w.Write(t.Context(), Batch{Positions: []position.Position{at("a", 1, 1, `{}`), at("b", 1, 1, `{}`)}})
		written <- r
	}()
	require.Contains(t, Hint(servertest.Within(t, trouble)), "tenant")
	servertest.Execute(t, url, `ALTER TABLE positions ALTER tenant SET DEFAULT 'x'`)
	require.Equal(t, Result{Inserted: 2}, servertest.Within(t, written))
}
