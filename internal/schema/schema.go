// Package schema says what the table positions and a session on its database must be like, and
// checks it.
//
// Read schema.go (the table), session.go (how a session is opened), check.go (what is asked of the catalog and
// what follows from it), migrate.go (how the table comes about), lock.go (who is in the way), grant.go (missing rights).
package schema

import (
	"errors"

	"github.com/amacneil/dbmate/v2/pkg/dbmate"
)

// Table is the name of the table, in whichever schema the search path finds it.
const Table = "positions"

// ingestedAt is filled in by the server.
const ingestedAt = "ingested_at"

// Error says that the session or the table is not as the worker needs it. It holds no text of the
// database and no values of rows.
type Error struct {
	Problem string // what is wrong
	Fix     string // what a person can do about it
}

// Error implements error.
func (e *Error) Error() string { return e.Problem }

// Public is the text for anyone who may ask /readyz.
func (e *Error) Public() string { return "class schema: " + e.Problem + ". Fix: " + e.Fix }

// SQLSTATEs that this package treats by name (PostgreSQL documentation, appendix A).
const (
	undefinedFile         = "58P01"
	lockNotAvailable      = "55P03"
	protocolViolation     = "08P01" // what PgBouncer answers to a parameter that it refuses
	insufficientPrivilege = "42501"
)

// sqlState is the server's code for an error; empty where it does not come from the server. dbmate's driver is another one,
// and dbmate's own error does not unwrap.
func sqlState(err error) string {
	var inMigration *dbmate.QueryError
	if errors.As(err, &inMigration) {
		err = inMigration.Err
	}
	var answer interface{ SQLState() string }
	if !errors.As(err, &answer) {
		return ""
	}
	return answer.SQLState()
}
