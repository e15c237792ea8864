package observe

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// maxPublic bounds a text of Public in bytes.
const maxPublic = 1000

// Public returns the text of err for everybody who can reach /readyz: passwords are hidden, and of an error
// that PostgreSQL sent only the SQLSTATE is left. Its message may hold the values of a row, coordinates
// included, for example where a trigger raises it.
func Public(err error) string {
	return describe(err, func(e *pgconn.PgError) string { return "SQLSTATE " + e.Code })
}

// Loggable is Public with what a person needs to find the cause: the constraint, table and column by name.
func Loggable(err error) string {
	return describe(err, func(e *pgconn.PgError) string {
		text := "SQLSTATE " + e.Code
		for _, part := range []struct{ what, name string }{
			{"constraint", e.ConstraintName}, {"table", e.TableName}, {"column", e.ColumnName},
		} {
			if part.name != "" {
				text += ", " + part.what + " " + part.name
			}
		}
		return text
	})
}

// describe replaces the text of each PgError in err's tree.
func describe(err error, of func(*pgconn.PgError) string) string {
	text := err.Error()
	var known []string
	var private bool
	for _, e := range postgresErrors(err) {
		if short := of(e); !strings.Contains(strings.Join(known, "; "), short) {
			known = append(known, short)
		}
		text = strings.ReplaceAll(text, e.Error(), of(e))
	}
	for _, e := range postgresErrors(err) {
		for _, part := range []string{e.Message, e.Detail, e.Hint, e.Where, e.InternalQuery} {
			private = private || part != "" && strings.Contains(text, part)
		}
	}
	if private { // somebody wrote the error in another way
		text = strings.Join(known, "; ")
	}
	return shorten(Scrub(text), maxPublic)
}

// postgresErrors lists the errors of PostgreSQL in err's tree.
func postgresErrors(err error) []*pgconn.PgError {
	switch e := err.(type) { //nolint:errorlint // the tree is walked node by node
	case *pgconn.PgError:
		return []*pgconn.PgError{e}
	case interface{ Unwrap() []error }:
		var all []*pgconn.PgError
		for _, part := range e.Unwrap() {
			all = append(all, postgresErrors(part)...)
		}
		return all
	}
	if next := errors.Unwrap(err); next != nil {
		return postgresErrors(next)
	}
	return nil
}

// shorten cuts text to at most n bytes and an ellipsis.
func shorten(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "") + "…"
}
