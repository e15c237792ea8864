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
func (p *Postgres) EnableTimescaleDB(ctx context.Context, database string) (err error) {
	conn, err := pgx.Connect(ctx, p.URL(database))
	if err != nil {
		return fmt.Errorf("enable TimescaleDB in database %s: %w", database, err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	if _, err := conn.Exec(ctx, enableTimescaleDB); err != nil {
		return fmt.Errorf("enable TimescaleDB in database %s: %w", database, err)
	}
	return nil
}
