package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgxpool"

	"processor/internal/position"
	"processor/internal/schema"
)

// reply is what came of one attempt.
type reply struct {
	Result           // counts of what is committed and there
	found  []refusal // single rows, where the others are stored
	fresh  [][]int32 // rows that were certainly not there before, where a search wrote them
	err    error     // none of the segment is stored, or nobody knows
}

// attempt sends a segment in one transaction over a connection that it takes from the pool for as long: errors
// of the commit are read after the results, when the pool would have given the connection to another.
func (w *Writer) attempt(ctx context.Context, positions []position.Position, s segment) reply {
	if err := w.store.paused(); err != nil {
		return reply{err: notSent{err}}
	}
	ctx, cancel := w.store.clock.limit(ctx, w.store.opts.WriteTimeout)
	defer cancel()
	conn, err := w.store.pool.Acquire(ctx)
	if err != nil {
		return reply{err: notSent{fmt.Errorf("connect to PostgreSQL: %w", schema.Refused(err))}}
	}
	defer conn.Release()
	r := w.sendOn(ctx, conn, positions, s)
	if r.err != nil && errors.Is(context.Cause(ctx), errTimeout) {
		r.err = fmt.Errorf("%w: %w", errTimeout, r.err)
	}
	leaveStandby(ctx, conn, r.err)
	return r
}

func (w *Writer) sendOn(ctx context.Context, conn *pgxpool.Conn, positions []position.Position, s segment) (r reply) {
	began := w.store.clock.now()
	forgetNotices(conn)
	var did sent
	if s.search && len(s.rows) > 1 {
		did, r.found, r.err = w.sender.find(ctx, conn.Conn(), s.path, positions, s.rows)
	} else {
		did, r.err = w.sender.send(ctx, conn.Conn(), s.path, positions, s.rows)
	}
	if r.err == nil {
		r.err = replicated(conn)
	}
	if r.err != nil {
		r.found = nil
		return r
	}
	r.fresh = did.fresh
	rows := s.rows
	if len(r.found) > 0 {
		rows = slices.DeleteFunc(slices.Clone(s.rows), func(row int32) bool {
			return slices.ContainsFunc(r.found, func(f refusal) bool { return f.rows[0] == row })
		})
	}
	if did.watched && len(rows) > 0 {
		absent, err := missing(ctx, conn.Conn(), positions, rows)
		if err != nil {
			return reply{err: err}
		}
		for _, row := range absent {
			r.found = append(r.found, refusal{rows: []int32{row}, why: unexpected, err: errNotStored})
		}
	}
	there := len(s.rows) - len(r.found)
	r.Merged = min(did.merged, there)
	r.Inserted = min(did.inserted, there-r.Merged) // a trigger may have deleted some of them
	r.Unchanged = there - r.Inserted - r.Merged
	if there > 0 {
		w.store.memory.stored(began, s.path, daysOf(positions, rows))
		if wrote := w.store.opts.Events.Wrote; wrote != nil {
			wrote(s.path, there, w.store.clock.now().Sub(began))
		}
	}
	return r
}

// leaveStandby closes a connection to a server that has become a standby (25006). It would stay
// usable, and every attempt would fail on it, long after the address has gone to the new primary.
func leaveStandby(ctx context.Context, conn *pgxpool.Conn, err error) {
	if SQLState(err) == readOnlyTransaction {
		_ = conn.Conn().Close(ctx) // what went wrong is in err
	}
}

// forgetNotices removes the mark of noteNotReplicated.
func forgetNotices(conn *pgxpool.Conn) { delete(conn.Conn().PgConn().CustomData(), notReplicated) }

// replicated returns errNotReplicated where the connection was marked since forgetNotices.
func replicated(conn *pgxpool.Conn) error {
	if _, marked := conn.Conn().PgConn().CustomData()[notReplicated]; marked {
		return errNotReplicated
	}
	return nil
}
