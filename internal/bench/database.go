package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"processor/db"
	"processor/internal/retry"
	"processor/internal/schema"
	"processor/internal/store"
)

// database is the database that is measured; its positions belong to the benchmark. Each method opens
// connections and closes them before it returns: an open session would take part in the next measurement.
type database struct {
	config *pgx.ConnConfig
}

// newDatabase reads the database URL and connects to nothing yet.
func newDatabase(databaseURL string) (*database, error) {
	pool, err := schema.Config(databaseURL)
	if err != nil {
		return nil, err
	}
	config := pool.ConnConfig
	config.RuntimeParams["application_name"] = "processor bench"
	return &database{config: config}, nil
}

// truncate deletes all positions.
func (d *database) truncate(ctx context.Context) error {
	return d.do(ctx, "truncate positions", func(q *db.Queries) error { return q.TruncatePositions(ctx) })
}

// checkpoint writes out what is dirty; only a superuser may.
func (d *database) checkpoint(ctx context.Context) error {
	return d.do(ctx, "checkpoint", func(q *db.Queries) error { return q.Checkpoint(ctx) })
}

// count counts the rows of positions, all of them one by one.
func (d *database) count(ctx context.Context) (n int64, err error) {
	err = d.do(ctx, "count positions", func(q *db.Queries) error {
		n, err = q.CountPositions(ctx)
		return err
	})
	return n, err
}

// bytes returns the size of a table and its chunks, without indexes, and that of its indexes.
func (d *database) bytes(ctx context.Context, table string) (heap, indexes int64, err error) {
	err = d.do(ctx, "read the size of table "+table, func(q *db.Queries) error {
		row, err := q.TableBytes(ctx, table)
		heap, indexes = row.Heap, row.Indexes
		return err
	})
	return heap, indexes, err
}

// hasColumnstore reports whether chunks can be compressed.
func (d *database) hasColumnstore(ctx context.Context) (has bool, err error) {
	err = d.do(ctx, "ask for the columnstore", func(q *db.Queries) error {
		has, err = q.HasColumnstore(ctx)
		return err
	})
	return has, err
}

// compress converts all chunks to the columnstore.
func (d *database) compress(ctx context.Context) error {
	return d.do(ctx, "compress positions", func(q *db.Queries) error { return q.CompressPositions(ctx) })
}

// liveDelays returns the delays of rows with fix times from first to last, but for those of a device.
func (d *database) liveDelays(ctx context.Context, first, last time.Time, other string) (row db.LiveDelaysRow, err error) {
	err = d.do(ctx, "read the delays of live positions", func(q *db.Queries) error {
		row, err = q.LiveDelays(ctx, db.LiveDelaysParams{First: first, Last: last, Other: other})
		return err
	})
	return row, err
}

// serverSettings are what a reader of the figures has to know of the server.
type serverSettings struct {
	Version           string // of PostgreSQL
	TimescaleDB       string // version; empty where the database has none
	Fsync             string
	SynchronousCommit string
	SharedBuffers     string
}

// settings describes the database server.
func (d *database) settings(ctx context.Context) (s serverSettings, err error) {
	err = d.do(ctx, "ask for the server's settings", func(q *db.Queries) error {
		settings, err := q.ServerSettings(ctx)
		if err != nil {
			return err
		}
		timescaleDB, err := q.TimescaleVersion(ctx)
		s = serverSettings{
			Version:           settings.Version,
			TimescaleDB:       timescaleDB,
			Fsync:             settings.Fsync,
			SynchronousCommit: settings.SynchronousCommit,
			SharedBuffers:     settings.SharedBuffers,
		}
		return err
	})
	return s, err
}

const (
	// sessionsPoll is how often commits asks whether the sessions have ended.
	sessionsPoll = 20 * time.Millisecond
	// sessionsWait is for how long: behind a pooler they do not end.
	sessionsWait = 5 * time.Second
)

// commitsOfCommits is how many transactions a call of commits adds to the count of the next one:
// its query, and the one with which PostgreSQL opens a session.
const commitsOfCommits = 2

// commits waits until the application has no session left, since a session's transactions are
// counted for certain only at its end, and returns the transactions of the database so far
// (pg_stat_database.xact_commit). After 5 s it takes the count as it is.
func (d *database) commits(ctx context.Context, application string) (n int64, err error) {
	deadline := time.Now().Add(sessionsWait)
	err = d.do(ctx, "count commits", func(q *db.Queries) error {
		for {
			row, err := q.DatabaseCommits(ctx, application)
			if err != nil {
				return err
			}
			if row.Sessions == 0 || time.Now().After(deadline) {
				n = row.Commits
				return nil
			}
			if err := retry.Sleep(ctx, sessionsPoll); err != nil {
				return err
			}
		}
	})
	return n, err
}

func (d *database) do(ctx context.Context, what string, work func(*db.Queries) error) (err error) {
	config := d.config.Copy()
	// One query is one transaction: no separate one to prepare it.
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := schema.Connect(ctx, config)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	if err := work(db.New(conn)); err != nil {
		if hint := store.Hint(err); hint != "" {
			err = fmt.Errorf("%w. Fix: %s", err, hint)
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// copy sends all rows by the statement and the encoder that a Writer uses, a transaction for each
// batch, over so many connections at once, and returns how long that took from the moment when
// all of them were open.
func (d *database) copy(ctx context.Context, rows *copyRows, connections int) (took time.Duration, err error) {
	conns := make([]*pgx.Conn, connections)
	for i := range conns {
		conn, dialErr := schema.Connect(ctx, d.config.Copy())
		if dialErr != nil {
			return 0, fmt.Errorf("connect for COPY: %w", dialErr)
		}
		defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
		conns[i] = conn
	}

	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for _, conn := range conns {
		group.Go(func() error {
			copier := store.NewCopier()
			for {
				i := int(next.Add(1)) - 1
				if i >= len(rows.batches) {
					return nil
				}
				if err := copier.Copy(ctx, conn, rows.batches[i]); err != nil {
					return err
				}
			}
		})
	}
	err = group.Wait()
	return time.Since(began), err
}
