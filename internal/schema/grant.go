package schema

import (
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"

	"processor/sql"
)

// Grant returns the statement by which the owner of a table, or of what else on names, gives a role the rights.
func Grant(rights []string, on, role string) string {
	return strings.NewReplacer(":rights", strings.Join(rights, ", "), ":table", on, ":role", quoted(role)).Replace(strings.TrimSpace(sql.Grant))
}

var plainName = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// quoted is a name as SQL has it.
func quoted(name string) string {
	if plainName.MatchString(name) {
		return name
	}
	return pgx.Identifier{name}.Sanitize()
}

// RightsHint returns the fix where a statement of the role failed because a right is missing (42501), and else nothing. needs
// are the rights on the table positions that the command needs.
func RightsHint(err error, role string, needs ...string) string {
	if sqlState(err) != insufficientPrivilege {
		return ""
	}
	return "as the owner of positions: " + Grant(needs, Table, role)
}

// MigrateHint returns the fix where a migration failed because a right is missing (42501), and else nothing.
func MigrateHint(err error, role string) string {
	if sqlState(err) != insufficientPrivilege {
		return ""
	}
	return "migrate as the role that owns positions, such as processor_migrate of deploy/postgres/roles.sql; or, as a superuser: " +
		Grant([]string{"USAGE", "CREATE"}, "SCHEMA public", role)
}
