package cli

import (
	"crypto/rand"
	"net/url"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/servertest"
	"processor/internal/stream"
)

func dial(t *testing.T, url string) redis.UniversalClient {
	client, err := stream.Connect(url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

func TestMigrate_NamesWhoHoldsALock(t *testing.T) {
	r := newRig(t)
	holder := servertest.Connect(t, servertest.WithParameter(t, r.database, "application_name", "report"))
	_, err := holder.Exec(t.Context(), "BEGIN; SELECT count(*) FROM positions")
	require.NoError(t, err)
	down := []string{"migrate", "down", "--lock-timeout=1500ms"}
	for len(r.listed()) == 2 && !servertest.HasTimescaleDB(t) { // without TimescaleDB the newer one needs no lock
		require.Equal(t, ExitOK, r.run(down...).code)
	}
	before := r.listed()

	got := r.run(append(down, "--lock-retries=1")...)
	require.Equal(t, ExitFailure, got.code, got.err)
	require.Regexp(t, `(?m)^processor: waiting for a lock that is held by pid \d+, role \w+, application report, (from [0-9.:/]+, )?idle in transaction, transaction open for \d+s, last query began \d+s ago$`, got.err)
	require.Regexp(t, `(?m)^processor: migrate: a lock on a table is not free after 2 attempts: held by pid (\d+), .*\. Fix: end that session with pg_terminate_backend\(\d+\), or raise --lock-retries$`, got.err)
	require.Equal(t, before, r.listed(), "nothing is half done")

	_, err = holder.Exec(t.Context(), "COMMIT")
	require.NoError(t, err)
	require.Equal(t, ExitOK, r.run(down...).code)
	require.Less(t, len(r.listed()), len(before))
}

// listed are the migrations that are applied.
func (r *rig) listed() []string {
	return servertest.Ask(r.t, r.database, "SELECT version FROM processor_schema_migrations ORDER BY version")
}

func TestMigrate_NamesTheOtherMigration(t *testing.T) {
	r := newRig(t)
	other := servertest.Connect(t, r.database)
	_, err := other.Exec(t.Context(), "SELECT pg_advisory_lock(x'70726f636573736f'::bigint)")
	require.NoError(t, err)
	got := r.run("migrate", "up", "--lock-timeout=100ms", "--lock-retries=1")
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "wait for another migration: the advisory lock of migrations is not free after 2 attempts: held by pid ")
	_, err = other.Exec(t.Context(), "SELECT pg_advisory_unlock_all()")
	require.NoError(t, err)
	require.Equal(t, ExitOK, r.run("migrate", "up").code)
}

func TestRights_OfThePostgresRoleAreNamed(t *testing.T) {
	r := newRig(t)
	role := "cli_" + strings.ToLower(rand.Text())
	servertest.Execute(t, r.database, "CREATE ROLE "+role+" LOGIN PASSWORD 'pw'")
	t.Cleanup(func() { servertest.Execute(t, r.database, "DROP OWNED BY "+role, "DROP ROLE "+role) })
	u, err := url.Parse(r.database)
	require.NoError(t, err)
	u.User = url.UserPassword(role, "pw")
	t.Setenv("DATABASE_URL", u.String())

	got := r.run("trace", "--device=x")
	require.Contains(t, got.out, "Fix: as the owner of positions: GRANT SELECT ON positions TO "+role)
	servertest.Execute(t, r.database, "DROP TABLE positions", "DROP TABLE processor_schema_migrations", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	got = r.run("migrate", "up")
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "or, as a superuser: GRANT USAGE, CREATE ON SCHEMA public TO "+role)
}

// One of each fault, and each question answered by one command.
func TestFiveQuestions(t *testing.T) {
	r := newTraced(t)
	for _, c := range []struct {
		question string
		args     []string
		want     []string
	}{
		{"last position of X", []string{"trace", "--device=row"}, []string{"row           device row, fix of 2025-06-01T10:03:00.000Z, committed "}},
		{"why is Y's 10:03 missing: a dead letter", []string{"trace", "--device=dead", "--at=2025-06-01T10:03:00Z"}, []string{"dead letter   ", "missing_key: latitude"}},
		{"why is Y's 10:03 missing: pending", []string{"trace", "--device=pending", "--at=2025-06-01T10:03:30Z"}, []string{"pending       entry " + r.pending, "delivered to pod-1"}},
		{"why is Y's 10:03 missing: unread", []string{"trace", "--device=unread", "--at=2025-06-01T10:03:40Z"}, []string{"unread        entry " + r.unread, "at position 1"}},
		{"how far behind and when done", []string{"status"}, []string{"behind 2 entries = "}},
		{"which devices make dead letters", []string{"dlq", "list", "--by=device"}, []string{"DEVICE", "dead", "missing_key"}},
		{"which consumer holds what", []string{"status"}, []string{"pod-1"}},
	} {
		got := r.run(c.args...)
		for _, want := range c.want {
			require.Contains(t, got.out, want, c.question)
		}
	}
}
