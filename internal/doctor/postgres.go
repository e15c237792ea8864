package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"processor/internal/column"
	"processor/internal/inspect"
	"processor/internal/schema"
	"processor/internal/store"
)

// oldestPostgres is the oldest that TimescaleDB's current versions run on.
var oldestPostgres = version{14}

// oldestTimescaleDB: before it, upserts into compressed chunks could skip rows.
var oldestTimescaleDB = version{2, 18, 1}

// Postgres checks the database that the URL names: the server, the way to it, table and rights. As Worker it also warns of
// rights that the worker does not need.
func Postgres(ctx context.Context, databaseURL string, scope Scope) []Finding {
	r := &report{server: "postgres", as: scope.As, readOnly: scope.ReadOnly}
	db, err := inspect.Connect(ctx, databaseURL)
	if err != nil {
		r.fail("connection", err.Error(), hintDatabase(err))
		return r.findings
	}
	// All there was to ask has been asked: how the connection ends does not matter.
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()

	server, err := db.Server(ctx)
	if err == nil {
		r.postgresServer(server)
		err = r.database(ctx, db)
	}
	if err != nil {
		r.fail("connection", err.Error(), hintDatabase(err))
	}
	return r.findings
}

func hintDatabase(err error) string {
	if hint := store.Hint(err); hint != "" {
		return hint
	}
	if store.SQLState(err) == "08P01" { // protocol_violation is what PgBouncer calls it
		return "PgBouncer refuses a parameter of DATABASE_URL: take it out, or add it to ignore_startup_parameters in pgbouncer.ini"
	}
	if store.SQLState(err) != "" {
		return "the server answers and refuses: see its log"
	}
	return "start PostgreSQL, or correct host and port in DATABASE_URL"
}

func (r *report) postgresServer(s inspect.Server) {
	r.ok("connection", "answers: database %s as role %s", s.Database, s.Role)

	major := version{s.VersionNum / 10000, s.VersionNum % 10000}
	if major.before(oldestPostgres) {
		r.fail("version", fmt.Sprintf("PostgreSQL %s is older than %d", s.Version, oldestPostgres[0]), "upgrade PostgreSQL")
	} else {
		r.ok("version", "PostgreSQL %s", s.Version)
	}

	switch {
	case s.Standby:
		r.refuses = true
		r.fail("writable", "is a standby, which takes no writes", "name the primary in DATABASE_URL, or all servers with target_session_attrs=read-write")
	case s.ReadOnly:
		r.refuses = true
		r.fail("writable", "transactions are read-only", "default_transaction_read_only = off for role, database or server")
	default:
		r.ok("writable", "takes writes")
	}

	// Entries are acknowledged when the commit is confirmed: from then on this is the only copy.
	switch {
	case !s.Fsync:
		r.warn("durability", "fsync is off: a crash of the machine may lose the whole database", "fsync = on in postgresql.conf")
	case !s.FullPageWrites:
		r.warn("durability", "full_page_writes is off: a crash of the machine may leave torn pages that recovery does not repair", "full_page_writes = on in postgresql.conf, unless the file system writes whole pages")
	case s.SynchronousCommit == "off":
		r.warn("durability", "synchronous_commit is off for this role: the worker turns it on in its sessions, but a pooler in between may not keep that, and a crash of the server would lose acknowledged positions",
			"synchronous_commit = on for role, database or server")
	default:
		r.ok("durability", "synchronous_commit %s", s.SynchronousCommit)
	}
	switch s.Encoding {
	case "UTF8":
	case "SQL_ASCII":
		r.warn("encoding", "the database has the encoding SQL_ASCII: PostgreSQL stores payloads byte by byte and checks none", "a database with the encoding UTF8")
	default:
		r.fail("encoding", "the database has the encoding "+s.Encoding+", which lacks most characters: positions with others would become dead letters", "a database with the encoding UTF8")
	}
	if s.ReplicationRole == "replica" {
		r.warn("triggers", "session_replication_role is replica: triggers and foreign keys of positions do nothing", "session_replication_role = origin for role, database or server")
	}
}

// database checks the rest. Its error is that the server answers no more.
func (r *report) database(ctx context.Context, db *inspect.Inspector) error {
	if err := r.pooler(ctx, db); err != nil {
		return err
	}
	state, err := db.Schema(ctx)
	var bad *store.SchemaError
	switch {
	case errors.As(err, &bad):
		r.fail("session", bad.Problem, bad.Fix)
		return nil
	case err != nil:
		return err
	}
	r.schema(&state)
	if state.Kind != "" {
		if err := r.chunks(ctx, db, &state); err != nil {
			return err
		}
		if err := r.storage(ctx, db, &state); err != nil {
			return err
		}
	}
	if err := r.disk(ctx, db); err != nil {
		return err
	}
	if err := r.migrations(ctx, db, state.Role); err != nil {
		return err
	}
	if err := r.clock(ctx, db.Now); err != nil {
		return err
	}
	if state.Kind != "" && len(state.Problems()) == 0 && !r.refuses && !r.readOnly {
		r.probe(ctx, db)
	}
	return nil
}

func (r *report) pooler(ctx context.Context, db *inspect.Inspector) error {
	mode := db.StatementMode()
	if mode == pgx.QueryExecModeExec || mode == pgx.QueryExecModeSimpleProtocol {
		// They send arrays of jsonb as if they were bytea, which PostgreSQL refuses (22P02).
		r.fail("statements", fmt.Sprintf("default_query_exec_mode=%s cannot send attributes: every row would be rejected", execMode(mode)),
			"take default_query_exec_mode out of DATABASE_URL; where a pooler needs it, cache_describe")
	}
	p, err := db.Pooler(ctx)
	if err != nil {
		return err
	}
	const migrate = "; processor migrate needs a connection without it"
	switch {
	case p.Pooling == inspect.Direct:
		r.ok("pooler", "none in between")
	case p.Pooling == inspect.PerSession:
		r.ok("pooler", "in between, session mode")
	case p.Pooling == inspect.UnknownPooling:
		r.warn("pooler", "in between, and gave no second connection in time, so its mode is not known",
			"see that its pool holds a connection for each of WRITERS, and two more")
	case p.Pooling == inspect.PerStatement:
		r.refuses = true
		r.fail("pooler", "in between, statement mode, which refuses transactions", "pool_mode = transaction or session in pgbouncer.ini")
	case p.NamedStatements:
		r.ok("pooler", "in between, transaction mode, keeps prepared statements"+migrate)
	case mode == pgx.QueryExecModeCacheStatement:
		r.fail("pooler", "in between, transaction mode, does not keep prepared statements: writing fails with 42P05 or 26000",
			"add default_query_exec_mode=cache_describe to DATABASE_URL, or set max_prepared_statements in pgbouncer.ini (1.21 or later)")
	default:
		r.ok("pooler", "in between, transaction mode, and DATABASE_URL asks for no prepared statements"+migrate)
	}
	return nil
}

// execMode spells a mode as the URL does: pgx's own words have blanks.
func execMode(mode pgx.QueryExecMode) string { return strings.ReplaceAll(mode.String(), " ", "_") }

const hintPlain = "create_hypertable as in the migration that creates positions, with migrate_data => TRUE"

// schema reports what keeps the worker from writing, topic by topic, and what is well.
func (r *report) schema(s *schema.State) {
	problems := map[schema.Topic][]schema.Problem{}
	for _, p := range s.Problems() {
		problems[p.Topic] = append(problems[p.Topic], p)
	}
	check := func(topic schema.Topic, well func()) {
		var texts, fixes []string
		for _, p := range problems[topic] {
			texts, fixes = append(texts, p.Problem), append(fixes, p.Fix)
		}
		if len(texts) == 0 {
			well()
			return
		}
		r.fail(string(topic), strings.Join(texts, "; "), strings.Join(fixes, "; "))
	}
	nothing := func() {}
	check(schema.TopicSession, nothing)
	check(schema.TopicTable, nothing)
	if s.Kind != "r" {
		check(schema.TopicTimescaleDB, nothing)
		return
	}
	check(schema.TopicColumns, func() { r.columns(s.Columns) })
	check(schema.TopicTimescaleDB, func() { r.timescale(s.TimescaleVersion) })
	check(schema.TopicHypertable, func() { r.hypertable(s) })
	check(schema.TopicKey, func() { r.ok("primary key", "(device_id, ts)") })
	check(schema.TopicRights, func() { r.ok("rights", "role %s may SELECT, INSERT and UPDATE positions", s.Role) })
}

// columns warns of columns that hold what the worker writes and are not what the migrations make.
func (r *report) columns(columns []schema.ColumnState) {
	var differs, fixes []string
	for _, want := range column.All() {
		for _, c := range columns {
			if c.Name == want.Name && c.Type != want.Type {
				differs = append(differs, fmt.Sprintf("column %s is %s, not %s: it holds each value, but COPY cannot be used, only the slower upsert", c.Name, c.Type, want.Type))
				fixes = append(fixes, "give column "+c.Name+" the type "+want.Type)
			}
			if c.Name == want.Name && c.Name == "device_id" && c.Collation != "C" {
				differs = append(differs, fmt.Sprintf("column device_id has the collation %s, not C: an upgrade of the locale library can damage the index", c.Collation))
				fixes = append(fixes, `give column device_id the collation "C"`)
			}
		}
	}
	if len(differs) > 0 {
		r.warn("columns", strings.Join(differs, "; "), strings.Join(fixes, "; "))
		return
	}
	r.ok("columns", "all %d are there, with the right types", len(column.All()))
}

func (r *report) timescale(installed string) {
	switch {
	case installed == "":
	case parseVersion(installed).before(oldestTimescaleDB):
		r.fail("timescaledb", fmt.Sprintf("TimescaleDB %s is older than %s: an upsert into a compressed chunk may skip rows", installed, oldestTimescaleDB),
			"install a newer TimescaleDB, then update the extension in this database")
	default:
		r.ok("timescaledb", "TimescaleDB %s", installed)
	}
}

func (r *report) hypertable(s *schema.State) {
	const plain = "positions is a plain table: no chunks, no compression, no retention by chunk"
	switch {
	case s.Hypertable:
		r.ok("hypertable", "positions is a hypertable")
	case s.AllowsPlainTable:
		r.warn("hypertable", plain+"; processor.allow_plain_table allows it", "none if that is meant")
	default:
		r.fail("hypertable", plain+", since the database has no TimescaleDB", "enable the extension timescaledb in this database, then "+hintPlain)
	}
}

// chunks compares the chunks with what the server can lock, and looks for chunks that are not as the table is.
// It takes no lock on them.
func (r *report) chunks(ctx context.Context, db *inspect.Inspector, s *schema.State) error {
	c, err := db.Chunks(ctx)
	if err != nil {
		return err
	}
	if c.Unlogged > 0 {
		r.fail("chunks", fmt.Sprintf("%d chunks of positions are UNLOGGED: PostgreSQL empties them after a crash", c.Unlogged), "set these chunks LOGGED")
	}
	if c.WithoutKey > 0 {
		r.fail("chunks", fmt.Sprintf("%d chunks of positions have no unique index, so that a redelivered position can be a second row", c.WithoutKey),
			"remove rows whose key is there twice, then give these chunks the primary key (device_id, ts)")
	}
	if s.Hypertable && c.RootBytes > 0 {
		r.warn("chunks", "the hypertable itself holds rows, which TimescaleDB does not show: they came while it was not active",
			"move them into the chunks, see docs/sql.md")
	}
	if problem, fix := lockProblem(c); problem != "" {
		r.warn("locks", problem, fix)
	} else if c.Chunks > 0 {
		r.ok("locks", "%d chunks with %d indexes, room for %d locks", c.Chunks, c.Indexes, int64(c.LocksPerTransaction)*int64(c.Transactions))
	}
	return nil
}

// lockProblem returns what is wrong with the size of the lock table, and the fix; empty where it has room for one
// statement that reads all chunks, twice over: a compressed chunk has a second table and index.
func lockProblem(c inspect.Chunks) (problem, fix string) {
	wanted, room := 2*(c.Chunks+c.Indexes), int64(c.LocksPerTransaction)*int64(c.Transactions)
	if wanted <= room {
		return "", ""
	}
	const step = 64
	each := (2*wanted/int64(c.Transactions)/step + 1) * step // for twice as many chunks
	return fmt.Sprintf("positions has %d chunks with %d indexes, and the server has room for %d locks: a statement without a range of ts may fail with out of shared memory (53200)", c.Chunks, c.Indexes, room),
		fmt.Sprintf("max_locks_per_transaction = %d in postgresql.conf, and restart PostgreSQL", each)
}

func (r *report) migrations(ctx context.Context, db *inspect.Inspector, role string) error {
	state, err := db.Migrations(ctx)
	switch {
	case store.SQLState(err) == "42501": // insufficient_privilege
		grant := "as the owner of positions: " + schema.Grant([]string{"SELECT"}, schema.MigrationsTable, role)
		r.warn("migrations", "could not check: needs SELECT on "+schema.MigrationsTable, grant)
	case err != nil:
		return err
	case len(state.Missing) > 0:
		r.fail("migrations", "not applied: "+strings.Join(state.Missing, ", "), "run processor migrate up")
	case len(state.Newer) > 0:
		r.warn("migrations", "the database has migrations that this binary does not know: "+strings.Join(state.Newer, ", "),
			"deploy the release that brought them, or run processor migrate down with that release")
	default:
		r.ok("migrations", "all applied")
	}
	return nil
}
