package store

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"processor/db"
	"processor/internal/position"
	"processor/internal/servertest"
)

func attemptOnce(t testing.TB, s *Store, fresh bool, p position.Position) error {
	path := PathUpsert
	if fresh {
		path = PathCopy
	}
	return s.NewWriter().attempt(t.Context(), []position.Position{p}, segment{rows: []int32{0}, path: path}).err
}

func upsertOnce(t testing.TB, url string, p position.Position) error {
	s := open(t, url, Options{})
	defer s.Close()
	return attemptOnce(t, s, false, p)
}

// noise does not compress, so that it stays as long as it is.
func noise(n int) string {
	letters := make([]byte, n)
	for i := range letters {
		letters[i] = byte('a' + rand.N(26))
	}
	return string(letters)
}

func connecting(change func(*url.URL)) func(t testing.TB, url string) error {
	return func(t testing.TB, rawURL string) error {
		u, err := url.Parse(rawURL)
		require.NoError(t, err)
		change(u)
		return upsertOnce(t, u.String(), at("a", 1, 1, `{}`))
	}
}

// role makes a role that may log in, and returns the URL with it.
func role(t testing.TB, rawURL, options string) string {
	name := "role_" + strings.ToLower(noise(12))
	servertest.Execute(t, rawURL, fmt.Sprintf(`CREATE ROLE %s LOGIN PASSWORD 'secret' %s`, name, options))
	u, err := url.Parse(rawURL)
	require.NoError(t, err)
	t.Cleanup(func() { servertest.Execute(t, rawURL, fmt.Sprintf(`DROP OWNED BY %[1]s; DROP ROLE %[1]s`, name)) })
	u.User = url.UserPassword(name, "secret")
	return u.String()
}

func withoutRights(t testing.TB, url string) error {
	return upsertOnce(t, role(t, url, ""), at("a", 1, 1, `{}`))
}

func noConnectionLeft(t testing.TB, url string) error {
	return upsertOnce(t, role(t, url, "CONNECTION LIMIT 0"), at("a", 1, 1, `{}`))
}

// twoRows are there before the conflicts between two connections.
func twoRows(t testing.TB, url string) (first, second *pgx.Conn) {
	servertest.Execute(t, url, `INSERT INTO positions VALUES ('a', '2026-11-23', 0, 0, 0, 0, 0, 0, 0, '{}'), ('b', '2026-11-23', 0, 0, 0, 0, 0, 0, 0, '{}')`)
	return servertest.Connect(t, url), servertest.Connect(t, url)
}

func serializationConflict(t testing.TB, url string) error {
	first, second := twoRows(t, url)
	const update = `UPDATE positions SET speed = speed + 1`
	tx, err := first.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `SELECT FROM positions`)
	require.NoError(t, err)
	_, err = second.Exec(t.Context(), update)
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), update)
	return err
}

// deadlock is what sorted rows avoid: two upserts that lock the same rows in opposite orders.
func deadlock(t testing.TB, url string) error {
	first, second := twoRows(t, url)
	lock := func(conn *pgx.Conn, device string) error {
		_, err := conn.Exec(t.Context(), `UPDATE positions SET speed = speed + 1 WHERE device_id = $1`, device)
		return err
	}
	for _, conn := range []*pgx.Conn{first, second} {
		_, err := conn.Exec(t.Context(), `SET deadlock_timeout = 10`)
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), `BEGIN`)
		require.NoError(t, err)
	}
	require.NoError(t, lock(first, "a"))
	require.NoError(t, lock(second, "b"))
	failed := make(chan error, 1)
	go func() { failed <- lock(first, "b") }()
	err := lock(second, "a")
	_, errEnd := second.Exec(t.Context(), `ROLLBACK`)
	require.NoError(t, errEnd)
	return cmp.Or(err, servertest.Within(t, failed)) // one of the two
}

func lockTimeout(t testing.TB, url string) error {
	first, second := twoRows(t, url)
	_, err := first.Exec(t.Context(), `BEGIN; LOCK TABLE positions`)
	require.NoError(t, err)
	_, err = second.Exec(t.Context(), `SET lock_timeout = 10`)
	require.NoError(t, err)
	_, err = db.New(second).CountPositions(t.Context())
	return err
}

func terminated(t testing.TB, url string) error {
	victim := servertest.Connect(t, url)
	servertest.Ask(t, url, `SELECT pg_terminate_backend($1, 10000)::text`, victim.PgConn().PID())
	// The notice lies in the connection: the next statement meets it.
	_, err := victim.Exec(t.Context(), `SELECT 1`)
	return err
}
