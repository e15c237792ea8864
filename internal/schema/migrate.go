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

	"processor/db"
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
	return migrate(ctx, databaseURL, (*dbmate.DB).Migrate)
}

// MigrateDown takes the newest applied migration back. The one that drops positions refuses
// while the table holds rows.
func MigrateDown(ctx context.Context, databaseURL string) error {
	return migrate(ctx, databaseURL, (*dbmate.DB).Rollback)
}

// Migrations lists every migration in order. It changes nothing and takes no lock.
func Migrations(ctx context.Context, databaseURL string) ([]Migration, error) {
	mate, err := newDBMate(databaseURL)
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

func migrate(ctx context.Context, databaseURL string, run func(*dbmate.DB) error) (err error) {
	mate, err := newDBMate(databaseURL)
	if err != nil {
		return err
	}
	// dbmate opens its own connection, so the lock has one too.
	config, err := Config(databaseURL)
	if err != nil {
		return err
	}
	conn, err := Connect(ctx, config.ConnConfig)
	if err != nil {
		return fmt.Errorf("connect to migrate: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	queries := db.New(conn)
	if err := queries.LockMigrations(ctx, migrationLock); err != nil {
		return fmt.Errorf("wait for the migration lock: %w", err)
	}
	defer func() {
		// Closing the connection would unlock too; through a pooler only this does.
		if unlockErr := queries.UnlockMigrations(context.WithoutCancel(ctx), migrationLock); unlockErr != nil {
			err = errors.Join(err, fmt.Errorf("release the migration lock: %w", unlockErr))
		}
	}()
	if err := run(mate); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

// newDBMate has the settings of dbmate.env.
func newDBMate(databaseURL string) (*dbmate.DB, error) {
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
