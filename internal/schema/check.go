package schema

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"processor/db"
	"processor/internal/column"
)

// State is what the catalog says of a session and of the table positions.
type State struct {
	Session
	// Pooled: a pooler lies between this program and the server.
	Pooled bool
	TableState
	Columns    []ColumnState
	Hypertable bool
}

// Session is what the catalog says of the session that asks.
type Session struct {
	Backend                  int32 // process id of the server's process
	Role                     string
	ClientEncoding           string
	SynchronousCommit        string
	DefaultSynchronousCommit string // without Prepare
	AllowsPlainTable         bool   // processor.allow_plain_table = on
	TimescaleVersion         string // of the extension in this database; empty where it has none
	TimescaleRestoring       string // off, on, or empty where TimescaleDB is not active
}

// TableState is what the catalog says of whatever the name positions leads to.
type TableState struct {
	Kind        string // pg_class.relkind; empty where there is nothing of this name
	Persistence string // pg_class.relpersistence
	Schema      string
	Schemas     []string // of the search path, all that have the name
	HasKey      bool     // a unique index on exactly (device_id, ts) or (ts, device_id)
	HasRules    bool     // rules for INSERT or UPDATE
	CanSelect   bool
	CanInsert   bool
	CanUpdate   bool
}

// ColumnState is what the catalog says of one column.
type ColumnState struct {
	Name, Type string
	// NotNull and HasDefault: a column that has the first and not the second must be written.
	NotNull, HasDefault bool
	// Generated: PostgreSQL refuses to have it written.
	Generated bool
	Collation string // empty where the type has none
}

// Topic is what a Problem is about.
type Topic string

// Topics of problems, in the order in which Problems lists them.
const (
	TopicSession     Topic = "session"
	TopicTimescaleDB Topic = "timescaledb"
	TopicTable       Topic = "table"
	TopicColumns     Topic = "columns"
	TopicHypertable  Topic = "hypertable"
	TopicKey         Topic = "primary key"
	TopicRights      Topic = "rights"
)

// Problem is one reason why nothing may be written.
type Problem struct {
	Topic Topic
	Error
}

// Check asks the catalog about this session and the table, and returns an *Error where rows would be
// lost, doubled, changed or refused. It takes no lock on the table or a chunk. Any other error means that it
// could not ask, which says nothing about the schema.
func Check(ctx context.Context, conn *pgx.Conn) (State, error) {
	state, err := Read(ctx, conn)
	if err != nil {
		return State{}, err
	}
	problems := state.Problems()
	if len(problems) == 0 {
		return state, nil
	}
	var texts, fixes []string
	for _, p := range problems {
		texts, fixes = append(texts, p.Problem), append(fixes, p.Fix)
	}
	return state, &Error{Problem: strings.Join(texts, "; "), Fix: strings.Join(fixes, "; ")}
}

// Read asks the catalog. The error is an *Error where the server cannot even answer.
func Read(ctx context.Context, conn *pgx.Conn) (s State, err error) {
	queries := db.New(unprepared{conn})
	session, err := queries.CheckSession(ctx)
	if err != nil {
		return State{}, failed("check the session", err)
	}
	table, err := queries.CheckTable(ctx)
	if err != nil {
		return State{}, failed("check table positions", err)
	}
	columns, err := queries.CheckColumns(ctx)
	if err != nil {
		return State{}, failed("check the columns of positions", err)
	}
	s.Session, s.TableState = Session(session), TableState(table)
	s.Pooled = uint32(s.Backend) != conn.PgConn().PID() // a pooler makes up a process id, see inspect.Pooler
	for _, c := range columns {
		s.Columns = append(s.Columns, ColumnState(c))
	}
	if s.TimescaleVersion == "" {
		return s, nil
	}
	if s.Hypertable, err = queries.CheckHypertable(ctx, s.Schema); err != nil {
		return State{}, failed("ask whether positions is a hypertable", err)
	}
	return s, nil
}

// failed is the error of a question to the catalog. What it asks for is always there, so a file that is
// missing can only be the library of an extension that the session loads.
func failed(what string, err error) error {
	if sqlState(err) == undefinedFile {
		return &Error{
			Problem: "the library of an extension cannot be loaded (SQLSTATE " + undefinedFile + "), so that no statement works",
			Fix:     "install the version of TimescaleDB that the extension has in this database, or update the extension to the version that is installed",
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Problems lists why nothing may be written; none where all is well. It is a pure function of the state.
func (s *State) Problems() []Problem {
	var found []Problem
	add := func(topic Topic, problem, fix string) {
		found = append(found, Problem{topic, Error{problem, fix}})
	}
	s.sessionProblems(add)
	s.timescaleProblems(add)
	if !s.tableProblems(add) {
		return found
	}
	s.columnProblems(add)
	if s.TimescaleVersion != "" && !s.Hypertable && !s.AllowsPlainTable {
		add(TopicHypertable, "positions is a plain table although the database has TimescaleDB",
			"make it a hypertable: create_hypertable as in the migration that creates positions, with migrate_data => TRUE; where a plain table is meant, set processor.allow_plain_table = on for the role")
	}
	if !s.HasKey {
		add(TopicKey, "positions has no valid unique index on exactly (device_id, ts), so that a redelivered position would be a second row, or fail",
			"remove rows whose key is there twice, then give positions the primary key (device_id, ts)")
	}
	if missing := s.MissingRights(); len(missing) > 0 {
		add(TopicRights, fmt.Sprintf("role %s lacks %s on positions", s.Role, strings.Join(missing, ", ")),
			"as the owner of positions: "+Grant(missing, Table, s.Role))
	}
	return found
}

type addProblem func(topic Topic, problem, fix string)

func (s *State) sessionProblems(add addProblem) {
	if s.ClientEncoding != "UTF8" {
		add(TopicSession, "client_encoding is "+s.ClientEncoding+", so that PostgreSQL would change the text of payloads",
			"take client_encoding out of what a pooler sets for its server connections")
	}
	switch {
	case s.Pooled && s.DefaultSynchronousCommit == "off":
		// In transaction mode the next statement may meet a server connection that was not prepared.
		add(TopicSession, "synchronous_commit is off for this role, and a pooler in between may not keep what a session sets: a crash of the server would lose acknowledged positions",
			"synchronous_commit = on for the role, the database or the server")
	case s.SynchronousCommit == "off":
		add(TopicSession, "synchronous_commit is off in this session: a crash of the server would lose acknowledged positions",
			"synchronous_commit = on for the role, the database or the server")
	}
}

func (s *State) timescaleProblems(add addProblem) {
	if s.TimescaleVersion == "" {
		return
	}
	switch s.TimescaleRestoring {
	case "off":
	case "":
		add(TopicTimescaleDB, "the database has the extension timescaledb, but TimescaleDB is not active in this session: rows would go past the hypertable and not be seen",
			"add timescaledb to shared_preload_libraries and restart PostgreSQL; timescaledb.disable_load must be off")
	default:
		add(TopicTimescaleDB, "TimescaleDB is in restoring mode: rows would go past the hypertable and not be seen",
			"finish the restore with timescaledb_post_restore(), or set timescaledb.restoring = off")
	}
}

// tableProblems reports whether there is a table of which more can be said.
func (s *State) tableProblems(add addProblem) bool {
	if s.Kind == "" {
		add(TopicTable, "there is no table positions in the search path of role "+s.Role,
			"run processor migrate up; where it finds nothing to do, the table was dropped or renamed, or the role lacks USAGE on its schema or has another search_path")
		return false
	}
	if len(s.Schemas) > 1 {
		add(TopicTable, "the search path of role "+s.Role+" leads to several positions, in the schemas "+strings.Join(s.Schemas, ", ")+"; the first is used",
			"rename or drop the one that is not meant, or name one of the schemas alone in the role's search_path")
	}
	if s.Kind != "r" {
		add(TopicTable, "positions is "+kindName(s.Kind)+", not a table", "rename it, and run processor migrate up")
		return false
	}
	switch s.Persistence {
	case "u":
		add(TopicTable, "positions is UNLOGGED: PostgreSQL empties it after a crash", "set positions LOGGED")
	case "t":
		add(TopicTable, "positions is a temporary table, which ends with the session", "drop or rename the temporary table")
	}
	if s.HasRules {
		add(TopicTable, "positions has a rule for INSERT or UPDATE, with which PostgreSQL refuses ON CONFLICT", "drop the rule")
	}
	return true
}

func kindName(kind string) string {
	switch kind {
	case "v":
		return "a view"
	case "m":
		return "a materialized view"
	case "f":
		return "a foreign table"
	case "p":
		return "a partitioned table"
	case "i", "I":
		return "an index"
	case "S":
		return "a sequence"
	default:
		return "of kind " + kind
	}
}

func (s *State) columnProblems(add addProblem) {
	written := column.All()
	for _, want := range written {
		at := slices.IndexFunc(s.Columns, func(c ColumnState) bool { return c.Name == want.Name })
		if at < 0 {
			add(TopicColumns, "column "+want.Name+" is missing", addColumn(want.Name, want.Type))
			continue
		}
		is := &s.Columns[at]
		if is.Type != want.Type && !slices.Contains(want.Holds, is.Type) {
			add(TopicColumns, fmt.Sprintf("column %s is %s, not %s", want.Name, is.Type, want.Type),
				"give column "+want.Name+" the type "+want.Type)
		}
		if is.Generated {
			add(TopicColumns, "column "+want.Name+" is GENERATED, so that PostgreSQL refuses to have it written",
				"make column "+want.Name+" an ordinary column of type "+want.Type)
		}
	}
	if !slices.ContainsFunc(s.Columns, func(c ColumnState) bool { return c.Name == ingestedAt }) {
		add(TopicColumns, "column "+ingestedAt+" is missing", addColumn(ingestedAt, "timestamp with time zone without a default, then set its default to now(): the columnstore takes it in no other order"))
	}
	for _, c := range s.Columns {
		known := slices.ContainsFunc(written, func(w column.Column) bool { return w.Name == c.Name })
		if !known && c.NotNull && !c.HasDefault && !c.Generated {
			add(TopicColumns, fmt.Sprintf("column %s is NOT NULL without a default, so that no row can be written", c.Name),
				"let column "+c.Name+" be null, or give it a default")
		}
	}
}

func addColumn(name, kind string) string {
	return "add column " + name + " of type " + kind
}

// MissingRights lists which of the rights that writing needs the role lacks on positions.
func (s *State) MissingRights() []string {
	var missing []string
	for _, right := range []struct {
		name string
		held bool
	}{{"SELECT", s.CanSelect}, {"INSERT", s.CanInsert}, {"UPDATE", s.CanUpdate}} {
		if !right.held {
			missing = append(missing, right.name)
		}
	}
	return missing
}
