package store

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"processor/internal/column"
	"processor/internal/schema"
)

// Class says what an error of the database means for the batch that met it. The set is closed:
// it labels metrics, and the writer has one answer to each.
type Class string

// Classes of database errors. The codes are SQLSTATEs (PostgreSQL documentation, appendix A).
const (
	// Unavailable: the server cannot be reached or cannot serve now, or another transaction was
	// in the way. The same batch is retried with backoff, for as long as it takes.
	Unavailable Class = "unavailable"
	// BadRow: a value that the table does not take. The batch is bisected until the row is found;
	// that row is rejected, the others are stored.
	BadRow Class = "bad_row"
	// Schema: table, column, constraint, database or right is missing, a column was added that
	// has to be written, or a pooler in between does not keep prepared statements. The batch is
	// held until it is fixed: the row is not at fault and is never rejected for this.
	Schema Class = "schema"
	// Limit: the batch is too much for a limit of the server. It is bisected; a row that meets
	// the limit by itself is parked and reported, never dropped.
	Limit Class = "limit"
	// Unexpected: an error that has no rule, such as RAISE EXCEPTION of somebody's trigger
	// (P0001). Retried, then bisected: a row that meets it by itself is parked and reported, since
	// dropping a position on a guess is worse than waiting for a person. With Batch.Single it
	// is rejected, where the server stores others.
	Unexpected Class = "unexpected"
	// Canceled: the caller's context ended.
	Canceled Class = "canceled"
)

// errTimeout: the rows were sent, and not written within WriteTimeout.
var errTimeout = errors.New("not written within the write timeout")

// errNotStored: the statement succeeded and the row is not there. Its class is Unexpected.
var errNotStored = errors.New("the row was written and is not in positions: a trigger, a rule or row-level security swallowed, changed or deleted it")

// errNotReplicated: the server has committed the rows and may lose them in a failover. Its class is Unavailable, and the
// commit's outcome unknown: the upsert locks rows that are there, so its commit waits for the standby too.
var errNotReplicated = errors.New("committed without the synchronous standby: somebody or statement_timeout canceled the wait")

// notReplicated is the key in a connection's CustomData by which noteNotReplicated marks it.
const notReplicated = "processor.not_replicated"

// noteNotReplicated marks a connection whose commit did not wait until a synchronous standby had it. PostgreSQL reports
// such a commit as successful, with a warning that only the routine tells from others.
func noteNotReplicated(conn *pgconn.PgConn, notice *pgconn.Notice) {
	if notice.Routine == "SyncRepWaitForLSN" {
		conn.CustomData()[notReplicated] = true
	}
}

// SchemaError says that the session or the table is not as the writer needs it. Its class is Schema.
type SchemaError = schema.Error

// Classes lists every class, for metrics that start at zero.
func Classes() []Class {
	return []Class{Unavailable, BadRow, Schema, Limit, Unexpected, Canceled}
}

// Classify is the one place that decides what a database error means: by SQLSTATE where the
// server sent one. An error without SQLSTATE is one of the connection, or of the context.
func Classify(err error) Class {
	var pgErr *pgconn.PgError
	var schemaErr *SchemaError
	switch {
	case errors.As(err, &schemaErr):
		return Schema
	case errors.Is(err, errNotStored):
		return Unexpected
	case errors.As(err, &pgErr):
		if pgErr.Code == notNullViolation && !written(pgErr.ColumnName) {
			return Schema // somebody added the column: every row would fail
		}
		return classifyState(pgErr.Code)
	case errors.Is(err, context.Canceled):
		return Canceled
	default:
		return Unavailable
	}
}

// written reports whether the service writes this column of positions. An error that names no
// column is taken to mean one of its own.
func written(name string) bool {
	return name == "" || slices.ContainsFunc(column.All(), func(c column.Column) bool { return c.Name == name })
}

func classifyState(state string) Class {
	switch state {
	case serializationFailure,
		deadlockDetected,
		insufficientResources,
		diskFull,
		tooManyConnections,
		lockNotAvailable,
		adminShutdown,
		crashShutdown,
		cannotConnectNow,
		readOnlyTransaction: // a standby, until the failover is through
		return Unavailable
	case notNullViolation,
		foreignKeyViolation,
		checkViolation:
		return BadRow
	case invalidSchemaName,
		invalidCatalogName,
		invalidStatementName: // a pooler gave another connection, see Hint
		return Schema
	case outOfMemory,
		configurationLimitExceeded,
		queryCanceled,      // statement_timeout
		transactionTimeout: // of PostgreSQL 17
		return Limit
	}
	if len(state) != 5 {
		return Unexpected
	}
	switch state[:2] {
	case "08": // connection exceptions
		return Unavailable
	case "22", "54": // data exceptions, program limits
		return BadRow
	case "28", // invalid authorization
		"42": // the statement does not fit the database: table, column, type, constraint, right
		return Schema
	default:
		return Unexpected
	}
}

// outcomeUnknown reports whether the statement may have been committed although it failed: it
// was sent, and the connection broke before the answer. Trying the same rows again by upsert
// is right either way.
func outcomeUnknown(err error) bool {
	var pgErr *pgconn.PgError
	return err != nil && !errors.As(err, &pgErr) && !pgconn.SafeToRetry(err)
}

// notSent marks an error from before anything was sent.
type notSent struct{ error }

// Unwrap returns the error itself.
func (e notSent) Unwrap() error { return e.error }

// SafeToRetry is what pgconn.SafeToRetry asks for.
func (notSent) SafeToRetry() bool { return true }
