package inspect

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/position"
	"processor/internal/schema"
	"processor/internal/servertest"
	"processor/internal/store"
)

func inspector(t testing.TB, url string) *Inspector {
	i, err := Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, i.Close(context.WithoutCancel(t.Context()))) })
	return i
}

func TestInspector_TriesWithoutATrace(t *testing.T) {
	url := servertest.Migrated(t)
	servertest.Execute(t, url, `ALTER TABLE positions ADD CONSTRAINT slow CHECK (speed < 300)`)
	s := open(t, url, store.Options{})
	_, err := s.NewWriter().Write(t.Context(), store.Batch{Positions: []position.Position{at("a", 1, 1, `{"x": 1}`)}})
	require.NoError(t, err)
	before := servertest.Ask(t, url, allRows)
	require.Equal(t, []string{`a 12:00:01 1.5 1 {"x": 1}`}, before)

	i := inspector(t, url)
	cases := map[string]struct {
		position position.Position
		want     store.Result
	}{
		"a new row":          {at("a", 2, 1, `{}`), store.Result{Inserted: 1}},
		"further attributes": {at("a", 1, 1, `{"y": 1}`), store.Result{Merged: 1}},
		"nothing new":        {at("a", 1, 2, `{"x": 2}`), store.Result{Unchanged: 1}},
		"a bad row": {at("a", 3, 400, `{}`), store.Result{Rejected: []store.Rejection{{
			Class: store.BadRow, SQLState: "23514", Constraint: "slow",
		}}}},
	}
	for name, c := range cases {
		got, err := i.Try(t.Context(), &c.position)
		require.NoError(t, err, name)
		for n := range got.Rejected {
			require.Contains(t, got.Rejected[n].Message, "violates check constraint", name)
			got.Rejected[n].Message = ""
			// Of a hypertable it is the chunk's, which has the table's name for it.
			got.Rejected[n].Constraint = strings.TrimLeft(got.Rejected[n].Constraint, "0123456789_")
		}
		require.Equal(t, c.want, got, name)
		require.Equal(t, before, servertest.Ask(t, url, allRows), name)
	}

	servertest.Execute(t, url, `ALTER TABLE positions DROP COLUMN speed`)
	_, err = i.Try(t.Context(), new(at("a", 4, 1, `{}`)))
	require.Equal(t, store.Schema, store.Classify(err), "says nothing about the position")
	require.NotEmpty(t, store.Hint(err))
}

func TestInspector_FindsTheRowWrittenLast(t *testing.T) {
	url := servertest.Migrated(t)
	stray := at("stray", 1, 1, `{}`) // a clock that runs a century ahead hides nothing
	stray.Timestamp = stray.Timestamp.AddDate(100, 0, 0)
	positions := []position.Position{stray, at("a", 1, 1, `{}`), at("b", 1, 1, `{}`), at("c", 1, 1, `{}`)}
	w := open(t, url, store.Options{}).NewWriter()
	for _, p := range positions[:3] { // each by a transaction of its own
		_, err := w.Write(t.Context(), store.Batch{Positions: []position.Position{p}})
		require.NoError(t, err)
	}
	i := inspector(t, url)
	newest := func(of ...position.Position) string {
		row, err := i.NewestOf(t.Context(), of)
		require.NoError(t, err)
		if row == nil {
			return ""
		}
		require.WithinDuration(t, time.Now(), row.IngestedAt, time.Minute)
		return row.DeviceID + row.Timestamp.UTC().Format(" 2006")
	}
	require.Equal(t, "b 2026", newest(positions...))
	require.Equal(t, "stray 2126", newest(positions[0], positions[3]))
	require.Empty(t, newest(positions[3]), "not a row")
	require.Empty(t, newest())

	servertest.Execute(t, url, `DROP TABLE positions`)
	_, err := i.NewestOf(t.Context(), positions)
	require.Equal(t, store.Schema, store.Classify(err))
}

func TestInspector_ListsMissingMigrations(t *testing.T) {
	url := servertest.Database(t)
	i := inspector(t, url)
	ask := func() []string {
		state, err := i.Migrations(t.Context())
		require.NoError(t, err)
		require.Empty(t, state.Newer)
		return state.Missing
	}
	missing := ask()
	all, err := schema.Migrations(t.Context(), url)
	require.NoError(t, err)
	require.Len(t, missing, len(all))
	for n := range all {
		require.Equal(t, all[n].Name, missing[n])
	}

	if servertest.HasTimescaleDB(t) {
		servertest.Execute(t, url, "CREATE EXTENSION IF NOT EXISTS timescaledb")
	}
	require.NoError(t, schema.MigrateUp(t.Context(), url))
	missing = ask()
	require.Empty(t, missing)

	require.NoError(t, schema.MigrateDown(t.Context(), url))
	missing = ask()
	require.Equal(t, []string{all[len(all)-1].Name}, missing)

	servertest.Execute(t, url, "INSERT INTO processor_schema_migrations VALUES ('29990101000000')")
	state, err := i.Migrations(t.Context())
	require.NoError(t, err)
	require.Equal(t, MigrationState{Missing: missing, Newer: []string{"29990101000000"}}, state)
}
