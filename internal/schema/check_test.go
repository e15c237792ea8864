package schema_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/column"
	"processor/internal/schema"
	"processor/internal/servertest"
)

// healthy is what the catalog says of what the migrations make.
func healthy() schema.State {
	s := schema.State{
		Session: schema.Session{
			Role: "processor", ClientEncoding: "UTF8", SynchronousCommit: "on", DefaultSynchronousCommit: "on",
			TimescaleVersion: "2.28.3", TimescaleRestoring: "off",
		},
		TableState: schema.TableState{
			Kind: "r", Persistence: "p", Schema: "public", Schemas: []string{"public"},
			HasKey: true, CanSelect: true, CanInsert: true, CanUpdate: true,
		},
		Hypertable: true,
		Columns:    []schema.ColumnState{{Name: "ingested_at", Type: "timestamp with time zone", NotNull: true, HasDefault: true}},
	}
	for _, c := range column.All() {
		s.Columns = append(s.Columns, schema.ColumnState{Name: c.Name, Type: c.Type, NotNull: true})
	}
	return s
}

func TestProblems_OfTimescaleDB(t *testing.T) {
	cases := map[string]struct {
		change func(s *schema.State)
		want   []schema.Topic
	}{
		"active":         {func(*schema.State) {}, nil},
		"not active":     {func(s *schema.State) { s.TimescaleRestoring = "" }, []schema.Topic{schema.TopicTimescaleDB}},
		"restoring mode": {func(s *schema.State) { s.TimescaleRestoring = "on" }, []schema.Topic{schema.TopicTimescaleDB}},
		"a plain table":  {func(s *schema.State) { s.Hypertable = false }, []schema.Topic{schema.TopicHypertable}},
		"a plain table that is meant": {func(s *schema.State) {
			s.Hypertable, s.AllowsPlainTable = false, true
		}, nil},
		"not active, where a plain table is allowed": {func(s *schema.State) {
			s.TimescaleRestoring, s.AllowsPlainTable = "", true
		}, []schema.Topic{schema.TopicTimescaleDB}},
		"no extension": {func(s *schema.State) {
			s.TimescaleVersion, s.TimescaleRestoring, s.Hypertable = "", "", false
		}, nil},
	}
	for name, c := range cases {
		s := healthy()
		c.change(&s)
		var topics []schema.Topic
		for _, p := range s.Problems() {
			require.NotEmpty(t, p.Problem, name)
			require.NotEmpty(t, p.Fix, name)
			topics = append(topics, p.Topic)
		}
		require.Equal(t, c.want, topics, name)
	}
}

func TestProblems_OfTheSession(t *testing.T) {
	for name, c := range map[string]struct {
		change func(s *schema.State)
		bad    bool
	}{
		"durable":                     {func(*schema.State) {}, false},
		"off by default, pinned":      {func(s *schema.State) { s.DefaultSynchronousCommit = "off" }, false},
		"off":                         {func(s *schema.State) { s.SynchronousCommit = "off" }, true},
		"off by default, in a pooler": {func(s *schema.State) { s.DefaultSynchronousCommit, s.Pooled = "off", true }, true},
		"local, in a pooler":          {func(s *schema.State) { s.DefaultSynchronousCommit, s.Pooled = "local", true }, false},
		"another encoding":            {func(s *schema.State) { s.ClientEncoding = "LATIN1" }, true},
	} {
		s := healthy()
		c.change(&s)
		require.Equal(t, c.bad, len(s.Problems()) == 1, name)
	}
}

// The real extension, as WebAssembly: a hypertable that works, restoring mode, and a plain table in its place.
func TestCheck_KnowsARealTimescaleDB(t *testing.T) {
	url := servertest.TimescaleDB(t)
	servertest.Execute(t, url, "CREATE EXTENSION IF NOT EXISTS timescaledb")
	require.NoError(t, schema.MigrateUp(t.Context(), url))
	conn := session(t, url)
	state, err := schema.Check(t.Context(), conn)
	require.NoError(t, err)
	require.True(t, state.Hypertable)
	require.Equal(t, "off", state.TimescaleRestoring)

	_, err = conn.Exec(t.Context(), "SET timescaledb.restoring = on")
	require.NoError(t, err)
	_, err = schema.Check(t.Context(), conn)
	requireProblem(t, err, "TimescaleDB is in restoring mode")
	_, err = conn.Exec(t.Context(), "SET timescaledb.restoring = off; ALTER TABLE positions RENAME TO elsewhere; CREATE TABLE positions (LIKE elsewhere INCLUDING ALL)")
	require.NoError(t, err)
	_, err = schema.Check(t.Context(), conn)
	requireProblem(t, err, "positions is a plain table although the database has TimescaleDB")
	_, err = conn.Exec(t.Context(), "DROP TABLE positions; ALTER TABLE elsewhere RENAME TO positions")
	require.NoError(t, err)
	_, err = schema.Check(t.Context(), conn)
	require.NoError(t, err)
}
