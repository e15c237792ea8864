package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"processor/db"
	"processor/internal/position"
	"processor/internal/retry"
	"processor/internal/schema"
)

// Bench is what `processor bench` asks of a database whose positions are its own. Each method
// connects for itself and has disconnected when it returns: a session that stayed would take
// part in the next measurement.
type Bench struct {
	config *pgx.ConnConfig
}

// NewBench reads the database URL; it connects to nothing yet.
func NewBench(databaseURL string) (*Bench, error) {
	pool, err := schema.Config(databaseURL)
	if err != nil {
		return nil, err
	}
	config := pool.ConnConfig
	config.RuntimeParams["application_name"] = "processor bench"
	return &Bench{config: config}, nil
}

// Truncate deletes all positions.
func (b *Bench) Truncate(ctx context.Context) error {
	return b.do(ctx, "truncate positions", func(q *db.Queries) error { return q.TruncatePositions(ctx) })
}

// Checkpoint writes out what is dirty; only a superuser may.
func (b *Bench) Checkpoint(ctx context.Context) error {
	return b.do(ctx, "checkpoint", func(q *db.Queries) error { return q.Checkpoint(ctx) })
}

// Count counts the rows of positions, all of them one by one.
func (b *Bench) Count(ctx context.Context) (n int64, err error) {
	err = b.do(ctx, "count positions", func(q *db.Queries) error {
		n, err = q.CountPositions(ctx)
		return err
	})
	return n, err
}

// BenchServer is what a reader of the figures has to know of the server.
type BenchServer struct {
	Version           string // of PostgreSQL
	TimescaleDB       string // version; empty where the database has none
	Fsync             string
	SynchronousCommit string
	SharedBuffers     string
}

// Server describes the database server.
func (b *Bench) Server(ctx context.Context) (s BenchServer, err error) {
	err = b.do(ctx, "ask for the server's settings", func(q *db.Queries) error {
		settings, err := q.ServerSettings(ctx)
		if err != nil {
			return err
		}
		timescaleDB, err := q.TimescaleVersion(ctx)
		s = BenchServer{
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
	// sessionsPoll is how often Commits asks whether the sessions have ended.
	sessionsPoll = 20 * time.Millisecond
	// sessionsWait is for how long: behind a pooler they do not end.
	sessionsWait = 5 * time.Second
)

// CommitsOfCommits is how many transactions a call of Commits adds to what the next one counts:
// its query, and the one with which PostgreSQL opens a session.
const CommitsOfCommits = 2

// Commits waits until the application has no session left, since a session's transactions are
// counted for certain only at its end, and returns the transactions of the database so far
// (pg_stat_database.xact_commit). After 5 s it takes the count as it is.
func (b *Bench) Commits(ctx context.Context, application string) (commits int64, err error) {
	deadline := time.Now().Add(sessionsWait)
	err = b.do(ctx, "count commits", func(q *db.Queries) error {
		for {
			row, err := q.DatabaseCommits(ctx, application)
			if err != nil {
				return err
			}
			if row.Sessions == 0 || time.Now().After(deadline) {
				commits = row.Commits
				return nil
			}
			if err := retry.Sleep(ctx, sessionsPoll); err != nil {
				return err
			}
		}
	})
	return commits, err
}

func (b *Bench) do(ctx context.Context, what string, work func(*db.Queries) error) (err error) {
	config := b.config.Copy()
	// One query is one transaction: no separate one to prepare it.
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	if err := work(db.New(conn)); err != nil {
		return fmt.Errorf("%s: %w", what, explain(err))
	}
	return nil
}

// CopyRows are rows in memory, cut into batches and sorted as a Writer sends them. The zero
// value is empty and ready.
type CopyRows struct {
	batches [][]position.Position
	devices map[string]string
}

// Add copies one batch of positions; the caller may reuse them and their memory. Few and large
// pieces of memory, so that the garbage collector has nothing to do while Copy is measured.
func (c *CopyRows) Add(batch []position.Position) {
	if c.devices == nil {
		c.devices = make(map[string]string)
	}
	size := 0
	for i := range batch {
		size += len(batch[i].Attributes)
	}
	rows, attributes := slices.Clone(batch), make([]byte, 0, size)
	for i := range rows {
		p := &rows[i]
		start := len(attributes)
		attributes = append(attributes, p.Attributes...)
		p.Attributes = attributes[start:len(attributes):len(attributes)]
		p.DeviceID = c.device(p.DeviceID)
	}
	slices.SortFunc(rows, func(a, b position.Position) int { return compareKeys(&a, &b) })
	c.batches = append(c.batches, rows)
}

func (c *CopyRows) device(id string) string {
	if known, ok := c.devices[id]; ok {
		return known
	}
	id = strings.Clone(id)
	c.devices[id] = id
	return id
}

// Copy sends all rows by the statement and the encoder that a Writer uses, a transaction for each
// batch, over so many connections at once, and returns how long that took from the moment when
// all of them were open.
func (b *Bench) Copy(ctx context.Context, rows *CopyRows, connections int) (took time.Duration, err error) {
	conns := make([]*pgx.Conn, connections)
	for i := range conns {
		conn, dialErr := pgx.ConnectConfig(ctx, b.config.Copy())
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
			source := newCopySource()
			var order []int32
			for {
				i := int(next.Add(1)) - 1
				if i >= len(rows.batches) {
					return nil
				}
				batch := rows.batches[i]
				for len(order) < len(batch) {
					order = append(order, int32(len(order)))
				}
				if _, err := source.send(ctx, conn, batch, order[:len(batch)]); err != nil {
					return fmt.Errorf("write rows by COPY: %w", err)
				}
			}
		})
	}
	err = group.Wait()
	return time.Since(began), err
}
