package sandbox

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

//go:embed timescaledb.sql
var enableTimescaleDB string

// EnableTimescaleDB runs CREATE EXTENSION in a database of this server, so that the migrations create a
// hypertable there. It returns an error if [Postgres.HasTimescaleDB] is false.
func (p *Postgres) EnableTimescaleDB(ctx context.Context, database string) error {
	if err := EnableTimescaleDB(ctx, p.URL(database)); err != nil {
		return fmt.Errorf("enable TimescaleDB in database %s: %w", database, err)
	}
	return nil
}

// EnableTimescaleDB does so in the database of a URL, on a server that has the library.
func EnableTimescaleDB(ctx context.Context, databaseURL string) (err error) {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return err // it names host and database
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	_, err = conn.Exec(ctx, enableTimescaleDB)
	return err
}
