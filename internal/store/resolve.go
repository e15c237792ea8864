package store

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Rows that are refused while nothing proves that the table takes others are parked up to these numbers since
// the last commit; then a batch is held. Rejections are of each row for its values, so more of them are.
const (
	maxUnproven         = 64
	maxUnprovenRejected = 500
)

// recently is how long ago a commit still proves that the server works.
const recently = 5 * time.Second

// resolve decides about the rows set aside, once the rest of the batch was tried. It puts rows that are to be
// bisected after all on the stack, and returns those that have to be held because nothing can be stored.
func (w *Writer) resolve(k *work) (held []refusal) {
	memory, now := &w.store.memory, w.store.clock.now()
	aside := k.aside
	k.aside = nil
	proven := k.stored() || memory.committedSince(k.began)
	for i, f := range aside {
		if f.why == badRow && !proven && !f.noted && !k.batch.Parked {
			for _, row := range f.rows {
				memory.reject(reasonOf(f.err), k.batch.Positions[row].DeviceID, now)
			}
			aside[i].noted = true
		}
	}
	spent := k.know(now).spent
	early := k.earlyRejections(aside)
	var retry []segment
	retried, rechecked := k.retried, k.rechecked
	for _, f := range aside {
		switch {
		case f.why == badRow && !proven && memory.suspect(reasonOf(f.err)):
			held = append(held, f)
		case f.why == badRow && f.suspected:
			// It was refused while the table took nothing, and now the table takes others.
			retry = append(retry, segment{rows: f.rows, path: PathUpsert})
		case f.why == badRow && proven && f.early && !k.rechecked && early[reasonOf(f.err)].suspect():
			rechecked = true // the schema may have been corrected in the middle of the batch
			retry = append(retry, segment{rows: f.rows, path: PathUpsert})
		case len(f.rows) > 1 && (f.why == badRow || proven && !spent && !k.batch.Parked):
			k.facts.doubt = false // the rows may well be at fault, so they are bisected to the end
			k.push(segment{rows: f.rows, path: PathUpsert, failures: patience(f.why, facts{})})
		case f.why == badRow:
			k.result.Rejected = append(k.result.Rejected, rejection(int(f.rows[0]), BadRow, f.err))
		case k.batch.Single && f.why == unexpected && memory.committedSince(now.Add(-recently)):
			k.result.Rejected = append(k.result.Rejected, rejection(int(f.rows[0]), Unexpected, f.err))
		case proven && !k.retried && (k.cycle > 0 || f.why != limit && f.why != unexpected):
			retried = true // the server or the schema may be well again
			retry = append(retry, segment{rows: f.rows, path: PathUpsert, failures: maxPatience})
		case proven, k.batch.Parked && f.why != badSchema:
			if proven && (f.why == busy || f.why == badSchema) {
				memory.careful(Unexpected) // the next batches need not wait to learn it
			}
			k.park(f.rows, explain(f.err))
		default:
			held = append(held, f)
		}
	}
	k.retried, k.rechecked = retried, rechecked
	k.push(retry...)
	if len(k.stack) > 0 {
		k.aside = held // more is known when those are bisected
		return nil
	}
	return w.parkFew(k, held)
}

// earlyRejections groups the rows that were rejected before anything of the batch was stored.
func (k *work) earlyRejections(aside []refusal) map[reason]*refusals {
	early := make(map[reason]*refusals)
	for _, f := range aside {
		if f.why != badRow || !f.early {
			continue
		}
		why := reasonOf(f.err)
		if early[why] == nil {
			early[why] = &refusals{}
		}
		for _, row := range f.rows {
			early[why].add(k.batch.Positions[row].DeviceID)
		}
	}
	return early
}

// parkFew parks rows that would be held, where they are few, so that one batch of them does not
// stop a stream; it returns the others.
func (w *Writer) parkFew(k *work, held []refusal) (rest []refusal) {
	rows, most := 0, maxUnprovenRejected
	for _, f := range held {
		rows += len(f.rows)
		switch f.why {
		case badRow:
		case limit, unexpected:
			most = maxUnproven
		default:
			return held // the server or the schema is at fault
		}
	}
	if rows == 0 {
		return nil
	}
	if !k.batch.Parked && !w.store.memory.park(rows, most) {
		return held
	}
	several := k.several(held)
	for _, f := range held {
		k.park(f.rows, explain(fault(f, several)))
	}
	return nil
}

// several reports whether the rows are as many, of as many devices, as it takes to suspect the schema.
func (k *work) several(held []refusal) bool {
	var all refusals
	for _, f := range held {
		for _, row := range f.rows {
			all.add(k.batch.Positions[row].DeviceID)
		}
	}
	return all.suspect()
}

// again puts held rows on the stack: some of them one by one, others each time, and the rest as it is. One that
// is stored shows that the rest is worth bisecting.
func (k *work) again(held []refusal, at time.Time) {
	undecided := make(map[int32]bool)
	for _, f := range held {
		for _, row := range f.rows {
			undecided[row] = true
		}
	}
	var rows []int32
	for _, row := range k.order {
		if undecided[row] {
			rows = append(rows, row)
		}
	}
	const samples = 8
	one := make(map[int32]bool)
	var plan []segment
	for i := range min(samples, len(rows)) {
		row := rows[(k.cycle+i*len(rows)/samples)%len(rows)]
		if one[row] {
			continue
		}
		one[row] = true
		plan = append(plan, segment{rows: []int32{row}, path: PathUpsert, failures: maxPatience})
	}
	k.cycle++
	k.spent = effort{began: at, attempts: k.spent.attempts}
	rows = slices.DeleteFunc(rows, func(row int32) bool { return one[row] })
	now, _ := portions(k.batch.Positions, rows, dayOfTime(at), func(int64) bool { return true })
	for _, portion := range now {
		plan = append(plan, segment{rows: portion, path: PathUpsert, failures: maxPatience})
	}
	k.facts.doubt = true
	k.push(plan...)
}

// fault is what is wrong with the database where it takes none of the rows: a constraint that several rows of
// several devices violate is the schema's fault. Rows rejected for their values are held for nothing less.
func fault(f refusal, several bool) error {
	var pgErr *pgconn.PgError
	if !errors.As(f.err, &pgErr) || f.why != badRow && (pgErr.ConstraintName == "" || !several) {
		return f.err
	}
	what := "values of positions"
	switch {
	case pgErr.ConstraintName != "":
		what = "constraint " + pgErr.ConstraintName
	case pgErr.ColumnName != "":
		what = "column " + pgErr.ColumnName
	}
	schema := &SchemaError{
		Problem: fmt.Sprintf("every row of several devices is rejected: SQLSTATE %s, %s", pgErr.Code, what),
		Fix:     fmt.Sprintf("drop or correct %s; processor doctor compares the table with what is written", what),
	}
	return fmt.Errorf("%w: %w", schema, f.err) // its message stays at debug level
}

func reasonOf(err error) reason {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return reason{}
	}
	return reason{state: pgErr.Code, constraint: pgErr.ConstraintName, column: pgErr.ColumnName}
}
