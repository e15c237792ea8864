package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"processor/internal/store"
)

// oldestPostgres is the oldest that TimescaleDB's current versions run on.
var oldestPostgres = version{14}

// oldestTimescaleDB: before it, upserts into compressed chunks could skip rows.
var oldestTimescaleDB = version{2, 18, 1}

// Postgres checks the database that the URL names: the server, the way to it, table and rights.
func Postgres(ctx context.Context, databaseURL string) []Finding {
	r := &report{server: "postgres"}
	db, err := store.Inspect(ctx, databaseURL)
	if err != nil {
		r.fail("connection", err.Error(), hintDatabase(err))
		return r.findings
	}
	// All there was to ask has been asked: how the connection ends does not matter.
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()

	server, err := db.Server(ctx)
	if err == nil {
		r.postgresServer(server)
		err = r.database(ctx, db, server)
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
	return "start PostgreSQL, or correct host and port in DATABASE_URL"
}

func (r *report) postgresServer(s store.Server) {
	r.ok("connection", "answers: database %s as role %s", s.Database, s.Role)

	major := version{s.VersionNum / 10000, s.VersionNum % 10000}
	if major.before(oldestPostgres) {
		r.fail("version", fmt.Sprintf("PostgreSQL %s is older than %d", s.Version, oldestPostgres[0]), "upgrade PostgreSQL")
	} else {
		r.ok("version", "PostgreSQL %s", s.Version)
	}

	switch {
	case s.Standby:
		r.fail("writable", "is a standby, which takes no writes", "name the primary in DATABASE_URL, or all servers with target_session_attrs=read-write")
	case s.ReadOnly:
		r.fail("writable", "transactions are read-only", "default_transaction_read_only = off for role, database or server")
	default:
		r.ok("writable", "takes writes")
	}

	// Entries are acknowledged when the commit is confirmed: from then on this is the only copy.
	switch {
	case !s.Fsync:
		r.warn("durability", "fsync is off: a crash of the machine may lose the whole database", "fsync = on in postgresql.conf")
	case s.SynchronousCommit == "off":
		r.warn("durability", "synchronous_commit is off for this role: the worker turns it on in its sessions, but a pooler in between may not keep that, and a crash of the server would lose acknowledged positions",
			"synchronous_commit = on for role, database or server")
	default:
		r.ok("durability", "synchronous_commit %s", s.SynchronousCommit)
	}
}

// database checks the rest. Its error is that the server answers no more.
func (r *report) database(ctx context.Context, db *store.Inspector, server store.Server) error {
	if err := r.pooler(ctx, db); err != nil {
		return err
	}
	columns, err := db.Columns(ctx)
	if err != nil {
		return err
	}
	if len(columns) == 0 {
		r.fail("table", "no table positions in the search path of role "+server.Role, "run processor migrate up; or grant USAGE on its schema, or correct search_path")
	} else {
		r.columns(columns)
		if err := r.hypertable(ctx, db, server.AllowsPlainTable); err != nil {
			return err
		}
		if err := r.primaryKey(ctx, db); err != nil {
			return err
		}
		if err := r.rights(ctx, db, server.Role); err != nil {
			return err
		}
	}
	if err := r.migrations(ctx, db, server.Role); err != nil {
		return err
	}
	return r.clock(ctx, db.Now)
}

func (r *report) pooler(ctx context.Context, db *store.Inspector) error {
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
	case p.Pooling == store.Direct:
		r.ok("pooler", "none in between")
	case p.Pooling == store.PerSession:
		r.ok("pooler", "in between, session mode")
	case p.Pooling == store.UnknownPooling:
		r.warn("pooler", "in between, and gave no second connection in time, so its mode is not known",
			"see that its pool holds a connection for each of WRITERS, and two more")
	case p.Pooling == store.PerStatement:
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

// columns compares the table with what the generated code writes.
func (r *report) columns(columns []store.Column) {
	written := store.WrittenColumns()
	var wrong, hints []string
	differs := func(what, hint string) {
		wrong, hints = append(wrong, what), append(hints, hint)
	}
	for _, want := range written {
		at := slices.IndexFunc(columns, func(c store.Column) bool { return c.Name == want.Name })
		switch {
		case at < 0:
			differs("column "+want.Name+" is missing", "add column "+want.Name+" of type "+want.Type)
		case columns[at].Type != want.Type:
			differs(fmt.Sprintf("column %s is %s, not %s", want.Name, columns[at].Type, want.Type),
				"give column "+want.Name+" the type "+want.Type)
		}
	}
	for _, c := range columns {
		known := slices.ContainsFunc(written, func(w store.Column) bool { return w.Name == c.Name })
		if !known && c.NotNull && !c.HasDefault {
			differs(fmt.Sprintf("column %s is NOT NULL without a default, so that no row can be written", c.Name),
				"let column "+c.Name+" be null, or give it a default")
		}
	}
	if len(wrong) > 0 {
		r.fail("columns", strings.Join(wrong, "; "), strings.Join(hints, "; "))
		return
	}
	r.ok("columns", "all %d are there, with the right types", len(written))
}

func (r *report) hypertable(ctx context.Context, db *store.Inspector, plainAllowed bool) error {
	is, timescale, err := db.Hypertable(ctx)
	if err != nil {
		return err
	}
	const plain = "positions is a plain table: no chunks, no compression, no retention by chunk"
	switch {
	case timescale != "" && parseVersion(timescale).before(oldestTimescaleDB):
		r.fail("timescaledb", fmt.Sprintf("TimescaleDB %s is older than %s: an upsert into a compressed chunk may skip rows", timescale, oldestTimescaleDB),
			"install a newer TimescaleDB, then update the extension in this database")
	case timescale != "":
		r.ok("timescaledb", "TimescaleDB %s", timescale)
	}
	switch {
	case is:
		r.ok("hypertable", "positions is a hypertable")
	case plainAllowed:
		r.warn("hypertable", plain+"; processor.allow_plain_table allows it", "none if that is meant")
	case timescale == "":
		r.fail("hypertable", plain+", since the database has no TimescaleDB", "enable the extension timescaledb in this database, then "+hintPlain)
	default:
		r.fail("hypertable", plain, hintPlain)
	}
	return nil
}

func (r *report) primaryKey(ctx context.Context, db *store.Inspector) error {
	key, err := db.PrimaryKey(ctx)
	switch {
	case err != nil:
		return err
	case len(key) == 0:
		r.fail("primary key", "positions has none, so that a redelivered position would be a second row, or fail", "give positions the primary key (device_id, ts)")
	case !slices.Equal(key, []string{"device_id", "ts"}):
		r.fail("primary key", fmt.Sprintf("is (%s), not (device_id, ts)", strings.Join(key, ", ")), "drop it, and give positions the primary key (device_id, ts)")
	default:
		r.ok("primary key", "(device_id, ts)")
	}
	return nil
}

func (r *report) rights(ctx context.Context, db *store.Inspector, role string) error {
	missing, err := db.MissingRights(ctx)
	switch {
	case err != nil:
		return err
	case len(missing) > 0:
		r.fail("rights", fmt.Sprintf("role %s lacks %s on positions", role, strings.Join(missing, ", ")),
			fmt.Sprintf("give role %s the right %s on positions", role, strings.Join(missing, ", ")))
	default:
		r.ok("rights", "role %s may SELECT, INSERT and UPDATE positions", role)
	}
	return nil
}

func (r *report) migrations(ctx context.Context, db *store.Inspector, role string) error {
	missing, err := db.MissingMigrations(ctx)
	switch {
	case store.SQLState(err) == "42501": // insufficient_privilege
		grant := fmt.Sprintf("give role %s the right SELECT on %s", role, store.MigrationsTable)
		r.warn("migrations", "could not check: needs SELECT on "+store.MigrationsTable, grant)
	case err != nil:
		return err
	case len(missing) > 0:
		r.fail("migrations", "not applied: "+strings.Join(missing, ", "), "run processor migrate up")
	default:
		r.ok("migrations", "all applied")
	}
	return nil
}
