package schema

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/amacneil/dbmate/v2/pkg/dbmate"
	_ "github.com/amacneil/dbmate/v2/pkg/driver/postgres" // dbmate's driver for postgres:// URLs

	"processor/sql"
)

// migrationLock is the key of the advisory lock that one migration holds: "processo" in ASCII.
const migrationLock = 0x70726f636573736f

// MigrationsTable is where dbmate keeps what has been applied. A name of its own, so that
// Directus and others can have theirs.
const MigrationsTable = "processor_schema_migrations"

// Migration is one file of sql/migrations, and whether the database has it.
type Migration struct {
	Name    string
	Applied bool
}

// MigrateUp applies the migrations that the database lacks, each in a transaction, under an
// advisory lock. It is what the dbmate CLI does with dbmate.env.
func MigrateUp(ctx context.Context, databaseURL string) error {
	return (&Migrator{}).Up(ctx, databaseURL)
}

// MigrateDown takes the newest applied migration back. The one that drops positions refuses
// while the table holds rows.
func MigrateDown(ctx context.Context, databaseURL string) error {
	return (&Migrator{}).Down(ctx, databaseURL)
}

// Migrations lists every migration in order. It changes nothing and takes no lock.
func Migrations(ctx context.Context, databaseURL string) ([]Migration, error) {
	mate, err := newDBMate(databaseURL, nil)
	if err != nil {
		return nil, err
	}
	// The first connection is not dbmate's, whose driver shows values of the URL in its errors.
	config, err := Config(databaseURL)
	if err != nil {
		return nil, err
	}
	conn, err := Connect(ctx, config.ConnConfig)
	if err != nil {
		return nil, fmt.Errorf("connect to list the migrations: %w", err)
	}
	if err := conn.Close(ctx); err != nil {
		return nil, fmt.Errorf("close the first connection: %w", err)
	}
	found, err := mate.FindMigrations()
	if err != nil {
		return nil, fmt.Errorf("read the applied migrations: %w", err)
	}
	migrations := make([]Migration, len(found))
	for i, m := range found {
		migrations[i] = Migration{Name: m.FileName, Applied: m.Applied}
	}
	return migrations, nil
}

// newDBMate has the settings of dbmate.env. Parameters that are not empty are those of its session, unless the URL has them.
func newDBMate(databaseURL string, parameters map[string]string) (*dbmate.DB, error) {
	u, err := url.Parse(databaseURL)
	if err != nil || !strings.HasPrefix(u.Scheme, "postgres") {
		// The error of net/url would hold the URL, and so the password.
		return nil, errors.New("migrations need a database URL of the form postgres://user:password@host:5432/database")
	}
	query := u.Query()
	// Parameters that only pgx knows: dbmate's driver would send them to the server, which
	// refuses them.
	for name := range query {
		if strings.HasPrefix(name, "pool_") {
			query.Del(name)
		}
	}
	query.Set("client_encoding", "UTF8") // its driver refuses another, also from PGCLIENTENCODING
	query.Del("default_query_exec_mode")
	query.Del("statement_cache_capacity")
	query.Del("description_cache_capacity")
	if !query.Has("sslmode") {
		query.Set("sslmode", "prefer") // as pgx does; dbmate's driver would insist on TLS
	}
	for name, value := range parameters {
		if value != "" && (name == "application_name" || !query.Has(name)) {
			query.Set(name, value)
		}
	}
	u.RawQuery = query.Encode()

	mate := dbmate.New(u)
	mate.FS = sql.Migrations
	mate.MigrationsDir = []string{"migrations"}
	mate.MigrationsTableName = MigrationsTable
	mate.AutoDumpSchema = false
	mate.Strict = true
	// It says "Applied" of a migration that failed, too; the caller lists what is applied.
	mate.Log = io.Discard
	return mate, nil
}
