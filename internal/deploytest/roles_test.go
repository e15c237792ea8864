package deploytest

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/cli"
	"processor/internal/sandbox"
	"processor/internal/servertest"
)

// psql runs a file of the repository as docs/sql.md shows it.
func psql(t *testing.T, databaseURL, file string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "psql", "-X", "-v", "ON_ERROR_STOP=1", "-d", databaseURL, "-f", filepath.Join(root, file))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// cluster is a server with a superuser's connection to one of its databases.
type cluster struct {
	t        *testing.T
	postgres *sandbox.Postgres
}

// database creates a database and returns a superuser's URL.
func (c cluster) database(name string) string {
	c.t.Helper()
	require.NoError(c.t, c.postgres.CreateDatabase(c.t.Context(), name))
	if c.postgres.HasTimescaleDB() {
		require.NoError(c.t, c.postgres.EnableTimescaleDB(c.t.Context(), name))
	}
	return c.postgres.URL(name)
}

// privileges lists what the roles of the service and PUBLIC may do with a database, schema public and its tables.
const privileges = `
SELECT what || ': ' || coalesce(nullif(a.grantee, 0)::regrole::text, 'PUBLIC') || ' ' || string_agg(a.privilege_type, ',' ORDER BY a.privilege_type)
FROM (
    SELECT 'database' AS what, datacl AS acl FROM pg_database WHERE datname = current_database()
    UNION ALL SELECT 'schema', nspacl FROM pg_namespace WHERE nspname = 'public'
    UNION ALL SELECT relname, relacl FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
) AS objects, aclexplode(acl) AS a
WHERE a.grantee = 0 OR a.grantee IN (SELECT oid FROM pg_roles WHERE rolname IN ('processor', 'processor_reader', 'processor_migrate'))
GROUP BY what, a.grantee
ORDER BY 1`

// roles lists the roles of the service.
const roles = `
SELECT rolname || CASE WHEN rolcanlogin THEN ' login' ELSE '' END || CASE WHEN rolsuper OR rolcreatedb OR rolcreaterole THEN ' more' ELSE '' END
       || CASE WHEN rolpassword IS NULL THEN '' ELSE ' password' END
FROM pg_authid WHERE rolname LIKE 'processor%' ORDER BY 1`

func TestRoles_RunTwiceAndInASecondDatabase(t *testing.T) {
	c := cluster{t, servertest.NewPostgres(t)}
	first, second := c.database("telemetry"), c.database("Second-Telemetry")
	other := c.database("other")
	untouched := servertest.Ask(c.t, other, privileges)

	want := []string{
		"database: PUBLIC CONNECT", "database: processor CONNECT", "database: processor_migrate CONNECT",
		"processor_schema_migrations: processor SELECT",
		"processor_schema_migrations: processor_migrate DELETE,INSERT,REFERENCES,SELECT,TRIGGER,TRUNCATE,UPDATE",
		"schema: PUBLIC USAGE", "schema: processor USAGE", "schema: processor_migrate CREATE,USAGE", "schema: processor_reader USAGE",
	}
	afterwards := []string{"processor login", "processor_migrate login", "processor_reader"}
	for _, target := range []string{first, first, second, second, first} {
		out, err := psql(t, target, "deploy/postgres/roles.sql")
		require.NoError(t, err, out)
		require.ElementsMatch(t, want, servertest.Ask(c.t, target, privileges), target)
		require.Equal(t, afterwards, servertest.Ask(c.t, target, roles))
	}
	require.Equal(t, untouched, servertest.Ask(c.t, other, privileges))

	// A run for a further database leaves passwords and memberships.
	out, err := psql(t, first, "deploy/compose/passwords.sql")
	require.NoError(t, err, out)
	out, err = psql(t, second, "deploy/postgres/roles.sql")
	require.NoError(t, err, out)
	require.Equal(t, []string{"processor login password", "processor_migrate login password", "processor_reader"}, servertest.Ask(c.t, first, roles))

	for _, target := range []string{first, second} {
		c.requireWorks(target)
	}
}

// requireWorks migrates as processor_migrate, and asks for what the worker's role may do.
func (c cluster) requireWorks(target string) {
	c.t.Helper()
	migrate := as(c.t, target, "processor_migrate", "demo-migrate")
	if !c.postgres.HasTimescaleDB() {
		var err error
		migrate, err = sandbox.PlainTableURL(migrate)
		require.NoError(c.t, err)
	}
	exit, _, problem := processor(c.t, "migrate", "up", "--database-url", migrate)
	require.Equal(c.t, cli.ExitOK, exit, problem)
	before := servertest.Ask(c.t, target, privileges)
	require.Contains(c.t, before, "positions: processor INSERT,SELECT,UPDATE")
	require.Contains(c.t, before, "positions: processor_reader SELECT")

	if c.postgres.HasTimescaleDB() { // the columnstore needs no TEMPORARY
		servertest.Ask(c.t, migrate, "WITH row AS (INSERT INTO positions VALUES ('1', '2026-01-01', 1, 1, 1, 1, 1, 1, 1, '{}') RETURNING device_id) SELECT device_id FROM row")
		require.Len(c.t, servertest.Ask(c.t, migrate, "SELECT compress_chunk(chunk)::text FROM show_chunks('positions') AS chunk"), 1)
	}

	// After privileges were lost, as by a restore without them, another run brings them back.
	servertest.Execute(c.t, target, "REVOKE ALL ON positions FROM processor, processor_reader", "REVOKE ALL ON processor_schema_migrations FROM processor",
		`DO $$ BEGIN EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO PUBLIC', current_database()); END $$`)
	require.NotEqual(c.t, before, servertest.Ask(c.t, target, privileges))
	out, err := psql(c.t, target, "deploy/postgres/roles.sql")
	require.NoError(c.t, err, out)
	require.Equal(c.t, before, servertest.Ask(c.t, target, privileges))

	worker := servertest.Connect(c.t, as(c.t, target, "processor", "demo-worker"))
	for _, statement := range []string{"CREATE TEMPORARY TABLE x ()", "CREATE TABLE x ()", "CREATE SCHEMA x", "DELETE FROM positions"} {
		_, err := worker.Exec(c.t.Context(), statement)
		require.ErrorContains(c.t, err, "42501", statement)
	}
}

// A run that fails changes nothing, and psql's exit code says so.
func TestRoles_AreAllOrNothing(t *testing.T) {
	c := cluster{t, servertest.NewPostgres(t)}
	target := c.database("telemetry")
	servertest.Execute(t, target, "CREATE ROLE half LOGIN CREATEROLE PASSWORD 'half'") // creates the roles and may grant nothing
	before := servertest.Ask(c.t, target, privileges)
	out, err := psql(t, as(t, target, "half", "half"), "deploy/postgres/roles.sql")
	require.Error(t, err, out)
	require.Equal(t, before, servertest.Ask(c.t, target, privileges))
	require.Empty(t, servertest.Ask(c.t, target, roles))
}
