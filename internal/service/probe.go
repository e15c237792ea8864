package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"processor/internal/observe"
	"processor/internal/schema"
	"processor/internal/store"
)

// schemaTimeout bounds one check of the schema. It is shorter than that of a probe: a database without an answer
// is what the probe "postgres" is about.
const schemaTimeout = 1500 * time.Millisecond

// schemaProbe checks session and table, keeps the store from writing while they are not as the worker
// needs them, and logs what kind of table it is, once and when that changes. Not safe for concurrent use.
type schemaProbe struct {
	logger     *slog.Logger
	passed     chan struct{} // closed by the first check that finds everything as it should be
	known      bool
	hypertable bool // what was logged last
}

// check returns observe.ErrUnknown where the database could not be asked: the verdict before stands then.
func (p *schemaProbe) check(ctx context.Context, s *store.Store) error {
	ctx, cancel := context.WithTimeout(ctx, schemaTimeout)
	defer cancel()
	state, err := s.CheckSchema(ctx)
	var bad *store.SchemaError
	switch {
	case err == nil:
		s.Pause(nil)
		if !p.known {
			close(p.passed)
		}
		p.log(&state)
		return plainTable(&state)
	case errors.As(err, &bad):
		s.Pause(bad)
		return errors.New(bad.Public())
	case store.Classify(err) == store.Schema, // role, password, database: the writers meet the same
		!p.known && store.Classify(err) != store.Unavailable: // the server answers, and the worker waits for this check
		return public(err)
	default:
		return fmt.Errorf("%w: %w", observe.ErrUnknown, err)
	}
}

// answers is the result of a ping: a server that refuses the role, the password or the database answers, and the check of
// the schema says so.
func answers(err error) error {
	if err != nil && store.Classify(err) == store.Schema {
		return nil
	}
	return public(err)
}

// plainTable returns what is wrong with a table that takes rows all the same: nobody has asked for a plain one, so
// the extension was dropped, or the table made anew.
func plainTable(state *schema.State) error {
	if state.Hypertable || state.AllowsPlainTable {
		return nil
	}
	return errors.New("positions is a plain table, since the database has no TimescaleDB; rows are stored in it. Fix: enable the extension timescaledb in this database and make positions a hypertable, see docs/sql.md; where a plain table is meant, set processor.allow_plain_table = on for the role")
}

func (p *schemaProbe) log(state *schema.State) {
	if p.known && p.hypertable == state.Hypertable {
		return
	}
	p.known, p.hypertable = true, state.Hypertable
	if state.Hypertable {
		p.logger.Info("positions is a hypertable", "timescaledb", state.TimescaleVersion)
		return
	}
	p.logger.Warn("positions is a plain table, not a hypertable: no chunks, no compression, no retention by chunk")
}

// public leaves the database's own message out of an error, which may hold values of rows: /readyz is open
// to anyone.
func public(err error) error {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return err
	}
	text := fmt.Sprintf("class %s, SQLSTATE %s", store.Classify(err), pgErr.Code)
	if hint := store.Hint(err); hint != "" {
		text += ". Fix: " + hint
	}
	return errors.New(text)
}
