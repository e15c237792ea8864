// Package store writes positions to PostgreSQL. It is the only importer of package db, which
// sqlc generates from sql/: what the service says to the database stands there.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"processor/db"
)

// Options are the settings of a Store. The zero value of each field has a meaning.
type Options struct {
	// Writers is how many Writers work at once; at least 1. The pool holds a connection for
	// each, and two for health checks, unless the URL has pool_max_conns.
	Writers int
	// WriteTimeout bounds one attempt to write a batch, so that a server that hangs without
	// closing its connections is noticed. 0 is 30 s.
	WriteTimeout time.Duration
	// Logger gets one line when writing begins to fail and one when it goes on. Required.
	Logger *slog.Logger
	// Events are told what happens, for metrics; any may be nil. They are called from the
	// goroutines of all Writers.
	Events Events
}

// Events are the store's calls to whoever counts.
type Events struct {
	// Wrote: rows were committed by one transaction, over PathCopy or PathUpsert.
	Wrote func(path string, rows int, took time.Duration)
	// Failed: one attempt failed.
	Failed func(class Class)
	// CommitUnknown: an attempt broke off after it was sent, so it may have been committed.
	CommitUnknown func()
	// Trouble: a batch is being held because of err, since the given time; a nil error says
	// that it is over.
	Trouble func(class Class, since time.Time, err error)
}

// Store holds the connections to the database that has the table positions.
type Store struct {
	pool    *pgxpool.Pool
	opts    Options
	trouble trouble
	fresh   fresh
	doubt   doubt
}

// Open reads the database URL and prepares the pool; connections are made when they are needed,
// so a server that is down is no error here. The caller closes the Store.
func Open(ctx context.Context, databaseURL string, opts Options) (*Store, error) {
	config, err := pgxpool.ParseConfig(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", err)
	}
	switch config.ConnConfig.DefaultQueryExecMode {
	case pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol:
		// Without the statement's types the driver sends jsonb[] as bytea[]: every upsert would
		// look like one of bad rows.
		return nil, errors.New("database URL: default_query_exec_mode exec and simple_protocol are not allowed; behind PgBouncer in transaction mode use cache_describe")
	}
	opts.Writers = max(opts.Writers, 1)
	if opts.WriteTimeout == 0 {
		opts.WriteTimeout = 30 * time.Second
	}
	if !strings.Contains(databaseURL, "pool_max_conns") {
		config.MaxConns = int32(opts.Writers) + 2
	}
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "processor"
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("prepare the connection pool: %w", err)
	}
	return &Store{pool: pool, opts: opts, trouble: newTrouble(opts.Logger, opts.Events.Trouble)}, nil
}

// Close closes all connections. Every Writer must be done.
func (s *Store) Close() { s.pool.Close() }

// Healthy tells whether no batch is being held because of trouble with the database. A row that
// alone meets a limit of the server is none.
func (s *Store) Healthy() bool { return !s.trouble.now() }

// Ping tells whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.pool.Ping(ctx); err != nil {
		return fmt.Errorf("ping PostgreSQL: %w", err)
	}
	return nil
}

// CheckSchema tells whether the table, its columns and the rights to write it are there. The
// error says how to mend it.
func (s *Store) CheckSchema(ctx context.Context) error {
	queries := db.New(s.pool)
	if err := queries.CheckPositions(ctx); err != nil {
		return explain(err)
	}
	can, err := queries.CanWritePositions(ctx)
	if err != nil {
		return explain(err)
	}
	if !can {
		return errors.New("no right to write positions. Mend: GRANT SELECT, INSERT, UPDATE ON positions TO the service's role")
	}
	return nil
}

// IsHypertable tells whether positions is a hypertable, and TimescaleDB's version, which is
// empty where the database has no TimescaleDB.
func (s *Store) IsHypertable(ctx context.Context) (is bool, version string, err error) {
	queries := db.New(s.pool)
	version, err = queries.TimescaleVersion(ctx)
	if err != nil {
		return false, "", fmt.Errorf("ask for TimescaleDB's version: %w", err)
	}
	if version == "" {
		return false, "", nil
	}
	is, err = queries.IsHypertable(ctx)
	if err != nil {
		return false, "", fmt.Errorf("ask whether positions is a hypertable: %w", err)
	}
	return is, version, nil
}

// Count counts the rows of positions, all of them one by one.
func (s *Store) Count(ctx context.Context) (int64, error) {
	n, err := db.New(s.pool).CountPositions(ctx)
	if err != nil {
		return 0, fmt.Errorf("count positions: %w", err)
	}
	return n, nil
}

// explain adds the mend to an error that a person must act on.
func explain(err error) error {
	if mend := mendFor(err); mend != "" {
		return fmt.Errorf("%w. Mend: %s", err, mend)
	}
	return err
}

// mendFor says what a person can do about an error of class Schema; empty for the others.
func mendFor(err error) string {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) || Classify(err) != Schema {
		return ""
	}
	switch pgErr.Code {
	case "42501":
		return "GRANT SELECT, INSERT, UPDATE ON positions TO the service's role"
	case "3D000":
		return "create the database, or name another in DATABASE_URL"
	case "26000", "42P05":
		return "add default_query_exec_mode=cache_describe to DATABASE_URL: a pooler such as PgBouncer in transaction mode does not keep prepared statements"
	case notNullViolation:
		return "give column " + pgErr.ColumnName + " of positions a default, or let it be null"
	}
	if pgErr.Code[:2] == "28" {
		return "correct the role and password in DATABASE_URL, or the server's pg_hba.conf"
	}
	return "run processor migrate up, or undo the change to table positions"
}
