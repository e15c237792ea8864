// Package store writes positions to PostgreSQL. Its statements come from package db, which sqlc
// generates from sql/.
//
// [Open] returns a [Store], the connections; its [Writer]s write one [Batch] each at a time. Each file
// uses only names of the files before it, in this order:
//
//   - sqlstate.go, class.go, hint.go, clock.go: what an error of the database means, and what a person does about it
//   - batch.go, sort.go, days.go: what a caller gives and gets, and in which order rows are sent
//   - copy.go, send.go: how rows go to the server
//   - decide.go: what follows an attempt to write rows; it is pure
//   - memory.go, trouble.go: what is remembered from one batch to the next, and what is reported
//   - store.go, search.go, attempt.go: the connections, one attempt, and the search for rejected rows in one transaction
//   - work.go, resolve.go, writer.go: the loop, and what becomes of refused rows when the others were tried
package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"processor/db"
	"processor/internal/column"
	"processor/internal/schema"
)

// Options are the settings of a Store. Zero values have a meaning.
type Options struct {
	// Writers is how many Writers work at once; at least 1. The pool holds a connection for
	// each, and two for health checks, unless the URL has pool_max_conns.
	Writers int
	// WriteTimeout bounds one attempt to write a batch, so that a server that hangs without
	// closing its connections is noticed. 0 is 30 s.
	WriteTimeout time.Duration
	// CurrentURL, where set, returns the database URL as it is now: each new connection uses its user and
	// password, and all else of the one given to Open.
	CurrentURL func() string
	// Prepare, where set, establishes and verifies each session when its connection opens. The
	// connection is closed where it fails. An error may be a *SchemaError.
	Prepare func(ctx context.Context, conn *pgx.Conn) error
	// Events are told what happens, for metrics; any may be nil. They are called from the
	// goroutines of all Writers.
	Events Events
}

// Events are the store's calls for metrics.
type Events struct {
	// Wrote: rows were committed by one transaction, over one of the paths.
	Wrote func(path string, rows int, took time.Duration)
	// Failed: one attempt failed; of class BadRow, a batch had rows that were rejected.
	Failed func(class Class)
	// CommitUnknown: an attempt broke off after it was sent, so it may have been committed.
	CommitUnknown func()
	// Trouble: a batch is being held because of err, which names the fix where there is one. It is called for
	// each attempt, and with a nil error once no batch is held any more. The message of the database in it
	// may hold values of a row.
	Trouble func(class Class, err error)
	// Held: so many batches are being held now, each because its last attempt failed with an error of the class. A batch
	// whose refused rows are parked is not held.
	Held func(class Class, batches int)
}

// Store holds the connections to the database that has the table positions.
type Store struct {
	pool    *pgxpool.Pool
	opts    Options
	trouble trouble
	memory  memory
	clock   clock
	verdict atomic.Pointer[error] // why nothing may be written; nil where writing is allowed
}

// Writer writes batches, one at a time; its buffers serve the next. Not safe for concurrent use.
type Writer struct {
	store  *Store
	sorter sorter
	sender *sender
	turn   int // which part of parked rows comes first
	part   int // how many parked rows are sent together
}

// parkedRows is how many parked rows are sent together while none is refused.
const parkedRows = 32

// NewWriter returns a Writer on the store's connections. It needs no closing.
func (s *Store) NewWriter() *Writer { return &Writer{store: s, sender: newSender(), part: parkedRows} }

// CheckURL returns what is wrong with a database URL, without its password.
func CheckURL(databaseURL string) error {
	config, err := schema.Config(databaseURL)
	if err != nil {
		return err
	}
	switch config.ConnConfig.DefaultQueryExecMode {
	case pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol:
		// Without the statement's types the driver sends jsonb[] as bytea[]: every upsert would
		// look like one of bad rows.
		return errors.New("database URL: default_query_exec_mode exec and simple_protocol are not allowed; behind PgBouncer in transaction mode use cache_describe")
	}
	return nil
}

// Open reads the database URL and prepares the pool; connections are made when they are needed,
// so a server that is down is no error here. The caller closes the Store.
func Open(ctx context.Context, databaseURL string, opts Options) (*Store, error) {
	if err := CheckURL(databaseURL); err != nil {
		return nil, err
	}
	config, err := schema.Config(databaseURL)
	if err != nil {
		return nil, err
	}
	opts.Writers = max(opts.Writers, 1)
	if opts.WriteTimeout == 0 {
		opts.WriteTimeout = 30 * time.Second
	}
	if u, err := url.Parse(databaseURL); err != nil || !u.Query().Has("pool_max_conns") {
		config.MaxConns = int32(opts.Writers) + 2
	}
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		column.RegisterArrays(conn.TypeMap())
		if opts.Prepare == nil {
			return nil
		}
		return opts.Prepare(ctx, conn)
	}
	config.ConnConfig.OnNotice = noteNotReplicated
	if opts.CurrentURL != nil {
		config.BeforeConnect = func(_ context.Context, conn *pgx.ConnConfig) error {
			return useCredentials(conn, opts.CurrentURL())
		}
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("prepare the connection pool: %w", err)
	}
	return &Store{pool: pool, opts: opts, clock: wallClock(), trouble: newTrouble(opts.Events.Trouble, opts.Events.Held)}, nil
}

// useCredentials gives a connection the user and password of a URL.
func useCredentials(conn *pgx.ConnConfig, databaseURL string) error {
	now, err := schema.Config(databaseURL)
	if err != nil {
		return err
	}
	conn.User, conn.Password = now.ConnConfig.User, now.ConnConfig.Password
	return nil
}

// closeTimeout is what connections have to close in. pgx waits 15 s for a server that hangs,
// which is more than is left of an orchestrator's grace after the shutdown timeout.
const closeTimeout = 2 * time.Second

// Close closes all connections, or returns after 2 s where the server hangs: the process is about
// to end then. Every Writer must be done.
func (s *Store) Close() {
	closed := make(chan struct{})
	go func() {
		s.pool.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(closeTimeout):
	}
}

// Healthy reports whether no batch is being held because of trouble with the database.
func (s *Store) Healthy() bool { return !s.trouble.now() }

// Pause keeps all Writers from writing, and gives err as the reason, until it is called with nil. A batch
// in flight is not interrupted.
func (s *Store) Pause(err error) {
	if err == nil {
		s.verdict.Store(nil)
		return
	}
	s.verdict.Store(&err)
}

// paused returns the reason given to Pause.
func (s *Store) paused() error {
	if err := s.verdict.Load(); err != nil {
		return *err
	}
	return nil
}

// Ping reports whether the database answers. One that does, but whose session Prepare refuses, answers.
func (s *Store) Ping(ctx context.Context) error {
	var refused *SchemaError
	if err := schema.Refused(s.pool.Ping(ctx)); err != nil && !errors.As(err, &refused) {
		return fmt.Errorf("ping PostgreSQL: %w", err)
	}
	return nil
}

// CheckSchema checks one of the sessions and the table. The error is a *SchemaError where a person must act;
// any other means that the database could not be asked.
func (s *Store) CheckSchema(ctx context.Context) (schema.State, error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return schema.State{}, fmt.Errorf("connect to check the schema: %w", schema.Refused(err))
	}
	defer conn.Release()
	return schema.Check(ctx, conn.Conn())
}

// Count counts the rows of positions, all of them one by one.
func (s *Store) Count(ctx context.Context) (int64, error) {
	n, err := db.New(s.pool).CountPositions(ctx)
	if err != nil {
		return 0, fmt.Errorf("count positions: %w", err)
	}
	return n, nil
}
