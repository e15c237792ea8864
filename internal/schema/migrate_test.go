package schema_test

import (
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/position"
	"processor/internal/schema"
	"processor/internal/servertest"
	"processor/internal/store"
)

// objects lists what is in the database beyond an empty one: relations, functions, types,
// schemas, triggers. Indexes and row types go with their table.
const objects = `
	SELECT kind || ' ' || name FROM (
		SELECT CASE relkind WHEN 'r' THEN 'table' WHEN 'i' THEN 'index' ELSE relkind::text END AS kind, relname AS name
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public'
		UNION ALL
		SELECT 'function', proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE n.nspname = 'public' AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
		UNION ALL
		SELECT 'schema', nspname FROM pg_namespace
		WHERE nspname <> 'public' AND nspname !~ '^(pg_|information_schema|_?timescaledb|toolkit_)'
		UNION ALL
		SELECT 'trigger', tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'public' AND NOT tgisinternal AND tgname <> 'ts_insert_blocker'
	) o ORDER BY 1`

// Rule 2: this service owns positions and dbmate's table, nothing else.
var owned = []string{
	"index positions_pkey",
	"index processor_schema_migrations_pkey",
	"table positions",
	"table processor_schema_migrations",
}

func names(t *testing.T, url string, applied bool) []string {
	migrations, err := schema.Migrations(t.Context(), url)
	require.NoError(t, err)
	var names []string
	for _, m := range migrations {
		if m.Applied == applied {
			names = append(names, m.Name)
		}
	}
	return names
}

var allMigrations = []string{"20261123000001_create_positions.sql", "20261123000002_positions_columnstore.sql"}

func TestMigrations_UpDownUp(t *testing.T) {
	servers := map[string]func(t *testing.T) string{
		"PostgreSQL": func(t *testing.T) string { return servertest.Database(t) },
		"TimescaleDB": func(t *testing.T) string {
			url := servertest.TimescaleDB(t)
			servertest.Execute(t, url, "CREATE EXTENSION IF NOT EXISTS timescaledb")
			return url
		},
	}
	for name, server := range servers {
		t.Run(name, func(t *testing.T) {
			url := server(t)
			if name == "PostgreSQL" && servertest.HasTimescaleDB(t) {
				servertest.Execute(t, url, "CREATE EXTENSION IF NOT EXISTS timescaledb")
			}
			require.Empty(t, servertest.Ask(t, url, objects))
			for range 2 {
				require.NoError(t, schema.MigrateUp(t.Context(), url))
				require.Equal(t, owned, servertest.Ask(t, url, objects))
				require.Equal(t, allMigrations, names(t, url, true))
				require.NoError(t, schema.MigrateUp(t.Context(), servertest.WithParameter(t, url, "pool_max_conns", "3")), "again: nothing to do")

				require.NoError(t, schema.MigrateDown(t.Context(), url))
				require.Equal(t, allMigrations[:1], names(t, url, true))
				require.NoError(t, schema.MigrateDown(t.Context(), url))
				require.Empty(t, names(t, url, true))
				require.Equal(t, owned[1:2], servertest.Ask(t, url, objects)[:1])
				require.Len(t, servertest.Ask(t, url, objects), 2, "dbmate's own table stays")
			}
			require.NoError(t, schema.MigrateUp(t.Context(), url))
			require.Equal(t, owned, servertest.Ask(t, url, objects))
		})
	}
}

// The upsert on the real extension: chunks, and a chunk that is compressed already.
func TestMigrations_MakeAHypertableThatTakesLatePositions(t *testing.T) {
	url := servertest.TimescaleDB(t)
	servertest.Execute(t, url, "CREATE EXTENSION IF NOT EXISTS timescaledb")
	require.NoError(t, schema.MigrateUp(t.Context(), url))
	require.Equal(t, []string{"positions ts 1 day"}, servertest.Ask(t, url,
		`SELECT concat_ws(' ', hypertable_name, column_name, extract(day FROM time_interval) || ' day') FROM timescaledb_information.dimensions`))
	require.Equal(t, []string{"device_id segment", "ts orderby desc"}, servertest.Ask(t, url,
		`SELECT concat_ws(' ', attname, CASE WHEN segmentby_column_index IS NOT NULL THEN 'segment' END,
			CASE WHEN orderby_column_index IS NOT NULL THEN 'orderby ' || CASE WHEN orderby_asc THEN 'asc' ELSE 'desc' END END)
		FROM timescaledb_information.compression_settings ORDER BY attname`))
	require.Equal(t, []string{"7 days"}, servertest.Ask(t, url,
		`SELECT config->>'compress_after' FROM timescaledb_information.jobs WHERE hypertable_name = 'positions'`))

	s := open(t, servertest.WithParameter(t, url, "pool_max_conns", "1"), store.Options{})
	state, err := s.CheckSchema(t.Context())
	require.NoError(t, err)
	require.True(t, state.Hypertable)
	require.NotEmpty(t, state.TimescaleVersion)

	w := s.NewWriter()
	got, err := w.Write(t.Context(), store.Batch{Positions: []position.Position{at("a", 1, 1, `{"x": 1}`), at("a", 2, 2, `{}`), at("b", 1, 3, `{}`)}})
	require.NoError(t, err)
	require.Equal(t, store.Result{Inserted: 3}, got)
	before := servertest.Ask(t, url, allRows)
	servertest.Execute(t, url, `SELECT compress_chunk(c) FROM show_chunks('positions') c`)
	require.Equal(t, before, servertest.Ask(t, url, allRows))

	got, err = w.Write(t.Context(), store.Batch{Positions: []position.Position{
		at("a", 1, 9, `{"x": 9, "y": 9}`), // merges into a compressed row
		at("a", 2, 2, `{}`),               // finds a compressed row
		at("a", 3, 4, `{}`),               // late
		at("c", 1, 5, `{}`),
	}})
	require.NoError(t, err)
	require.Equal(t, store.Result{Inserted: 2, Merged: 1, Unchanged: 1}, got)
	require.Equal(t, []string{
		`a 12:00:01 1.5 1 {"x": 1, "y": 9}`, `a 12:00:02 1.5 2 {}`, `a 12:00:03 1.5 4 {}`,
		`b 12:00:01 1.5 3 {}`, `c 12:00:01 1.5 5 {}`,
	}, servertest.Ask(t, url, allRows))

	// A compressed chunk does not keep the columnstore migration from being taken back.
	require.NoError(t, schema.MigrateDown(t.Context(), url))
	require.Len(t, servertest.Ask(t, url, allRows), 5)
	s.Close()
}

func TestMigrations_RefuseAPlainTableByAccident(t *testing.T) {
	url := servertest.Database(t)
	url = servertest.WithParameter(t, url, "options", "-c processor.allow_plain_table=off")
	err := schema.MigrateUp(t.Context(), url)
	require.ErrorContains(t, err, "TimescaleDB is not enabled in database")
	require.ErrorContains(t, err, "run CREATE EXTENSION timescaledb in it")
	require.ErrorContains(t, err, "options=-c%20processor.allow_plain_table%3Don")
	require.Equal(t, allMigrations, names(t, url, false))
	require.NotContains(t, servertest.Ask(t, url, objects), "table positions")
}

func TestMigrations_DoNotDropRows(t *testing.T) {
	url := servertest.Migrated(t)
	_, err := open(t, url, store.Options{}).NewWriter().Write(t.Context(), store.Batch{Positions: []position.Position{at("a", 1, 1, `{}`)}})
	require.NoError(t, err)
	require.NoError(t, schema.MigrateDown(t.Context(), url))
	err = schema.MigrateDown(t.Context(), url)
	require.ErrorContains(t, err, "holds rows")
	require.ErrorContains(t, err, "allow_data_loss")
	require.Equal(t, []string{`a 12:00:01 1.5 1 {}`}, servertest.Ask(t, url, allRows))
}

// Several deploy jobs at once: one migrates, the others wait and find it done.
func TestMigrations_RunOneAtATime(t *testing.T) {
	url := servertest.Database(t)
	if servertest.HasTimescaleDB(t) {
		servertest.Execute(t, url, "CREATE EXTENSION IF NOT EXISTS timescaledb")
	}
	errs := make([]error, 4)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = schema.MigrateUp(t.Context(), url) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.Equal(t, owned, servertest.Ask(t, url, objects))
}

// The dbmate CLI with dbmate.env and the embedded migrations are one and the same.
func TestMigrations_AgreeWithTheDbmateCLI(t *testing.T) {
	dbmate := func(t *testing.T, url string, args ...string) string {
		url = servertest.WithParameter(t, url, "sslmode", "disable")
		cmd := exec.CommandContext(t.Context(), servertest.Dbmate(t), append([]string{"--env-file", "dbmate.env"}, args...)...)
		cmd.Dir = "../.."
		cmd.Env = append(os.Environ(), "DATABASE_URL="+url)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	database := func(t *testing.T) string {
		url := servertest.Database(t)
		if servertest.HasTimescaleDB(t) {
			servertest.Execute(t, url, "CREATE EXTENSION IF NOT EXISTS timescaledb")
		}
		return url
	}
	t.Run("CLI first", func(t *testing.T) {
		url := database(t)
		dbmate(t, url, "up")
		require.Equal(t, allMigrations, names(t, url, true))
		require.Equal(t, owned, servertest.Ask(t, url, objects))
		require.NoError(t, schema.MigrateUp(t.Context(), url))
		require.NoError(t, schema.MigrateDown(t.Context(), url))
		require.Contains(t, dbmate(t, url, "status"), "Pending: 1")
	})
	t.Run("embedded first", func(t *testing.T) {
		url := database(t)
		require.NoError(t, schema.MigrateUp(t.Context(), url))
		require.Contains(t, dbmate(t, url, "status"), "Pending: 0")
		dbmate(t, url, "down")
		require.Equal(t, allMigrations[:1], names(t, url, true))
	})
}
