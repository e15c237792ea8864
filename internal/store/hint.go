package store

import (
	"errors"

	"github.com/jackc/pgx/v5/pgconn"
)

// Hint says what a person can do about an error of class Schema; empty for the others.
func Hint(err error) string {
	var schemaErr *SchemaError
	if errors.As(err, &schemaErr) {
		return schemaErr.Fix
	}
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || Classify(err) != Schema {
		return ""
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
