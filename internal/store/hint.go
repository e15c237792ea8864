package store

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// explain adds the hint to an error that a person must act on.
func explain(err error) error {
	if hint := Hint(err); hint != "" {
		return fmt.Errorf("%w. Fix: %s", err, hint)
	}
	return err
}

// Hint says what a person can do about an error: always for one of class Schema, and for those of other classes
// that a setting or a person caused. It is empty for what passes without help.
func Hint(err error) string {
	var schemaErr *SchemaError
	if errors.As(err, &schemaErr) {
		return schemaErr.Fix
	}
	if errors.Is(err, errTimeout) {
		return "end the transaction that holds a lock on positions (pg_locks), or find out why the server hangs"
	}
	if errors.Is(err, errNotStored) {
		return "look at the triggers, rules and policies of positions: one of them swallows, changes or deletes rows"
	}
	if errors.Is(err, errNotReplicated) {
		return "bring the synchronous standby back, or take it out of synchronous_standby_names; leave sessions alone that wait for it (wait_event SyncRep)"
	}
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return ""
	}
	switch Classify(err) {
	case Schema:
	case Unexpected:
		return unexpectedHint(pgErr)
	default:
		return limitHint(pgErr.Code)
	}
	switch pgErr.Code {
	case insufficientPrivilege:
		return "give the service's role the rights on positions and its schema that docs/sql.md lists"
	case undefinedTable, invalidSchemaName:
		return "run processor migrate up; where it finds nothing to do, the table was dropped or renamed, or the role lacks USAGE on its schema or has another search_path"
	case undefinedColumn:
		return "bring the column of positions back as sql/migrations has it: it was dropped or renamed; processor doctor names it"
	case invalidColumnReference: // no unique constraint for ON CONFLICT
		return "give positions the primary key (device_id, ts)"
	case invalidCatalogName:
		return "create the database, or name another in DATABASE_URL"
	case invalidStatementName, duplicatePreparedStatement:
		return "add default_query_exec_mode=cache_describe to DATABASE_URL: a pooler such as PgBouncer in transaction mode does not keep prepared statements"
	case notNullViolation:
		return "give column " + pgErr.ColumnName + " of positions a default, or let it be null"
	}
	if pgErr.Code[:2] == "28" {
		return "correct the role and password in DATABASE_URL, or the server's pg_hba.conf"
	}
	return "undo the change to table positions; processor doctor names the columns that differ"
}

// SQLState is the server's code for an error; empty where it does not come from the server.
func SQLState(err error) string {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return ""
	}
	return pgErr.Code
}

// unexpectedHint is the fix for an error without a rule, whose message is left out of log and /readyz.
func unexpectedHint(err *pgconn.PgError) string {
	if strings.HasPrefix(err.Code, "23") && err.ConstraintName != "" { // elsewhere somebody's trigger named it
		return "drop or correct constraint or index " + err.ConstraintName
	}
	return "read the message in PostgreSQL's log: a trigger, a function or a chunk of positions refuses the rows"
}

// limitHint is the fix for a state that is not about the schema; empty for those that pass without help.
func limitHint(state string) string {
	switch state {
	case readOnlyTransaction:
		return "set default_transaction_read_only = off for role, database or server; where the server is a standby, name the primary in DATABASE_URL, or all servers with target_session_attrs=read-write"
	case tooManyConnections:
		return "raise max_connections, or the connection limit of role or database: each worker needs WRITERS and two more"
	case lockNotAvailable:
		return "end the transaction that holds the lock on positions (pg_locks), or raise lock_timeout for the role"
	case queryCanceled:
		return "raise statement_timeout for the role, or end what makes statements slow (pg_stat_activity)"
	case transactionTimeout:
		return "raise transaction_timeout for the role"
	case diskFull:
		return "free or add disk space for PostgreSQL"
	case outOfMemory:
		return "raise max_locks_per_transaction where the server's log says out of shared memory, else give PostgreSQL more memory"
	case configurationLimitExceeded:
		return "raise the limit that PostgreSQL's log names; for late rows in compressed chunks it is timescaledb.max_tuples_decompressed_per_dml_transaction"
	}
	return ""
}
