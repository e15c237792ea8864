package store

import (
	"context"
	"slices"

	"github.com/cenkalti/backoff/v5"

	"processor/internal/retry"
)

// Write stores each position of the batch as a row: new, merged into the row with its key, or there
// already. It returns when every position is committed, rejected or parked; while the server is
// unavailable it retries with backoff. The only error is that of the context: then some positions
// may be committed, and writing the whole batch again is safe.
//
// Rows are sent sorted by key, so that two replicas with the same rows cannot deadlock. Of
// positions with one key in the batch, the first in the batch's order counts as the first.
func (w *Writer) Write(ctx context.Context, batch Batch) (Result, error) {
	k := w.begin(batch)
	pause := retry.NewBackOff()
	for len(k.stack)+len(k.aside) > 0 {
		var err error
		switch {
		case len(k.stack) == 0:
			err = w.settle(ctx, k, pause)
		case k.late(w.store.clock.now()):
			k.parkRest()
		default:
			err = w.next(ctx, k, pause)
		}
		if err != nil {
			return k.result, err
		}
	}
	w.store.trouble.over(w)
	if slices.ContainsFunc(k.result.Rejected, func(r Rejection) bool { return r.Class == BadRow }) {
		w.count(BadRow, nil) // one error, however many rows and attempts
		w.store.memory.careful(BadRow)
	}
	if batch.Parked {
		w.turnTo(k)
	}
	return k.result, nil
}

// next sends one segment and acts on the answer.
func (w *Writer) next(ctx context.Context, k *work, pause *backoff.ExponentialBackOff) error {
	s := k.pop()
	r := w.attempt(ctx, k.batch.Positions, s)
	if k.spent.attempts++; k.spent.attempts == 1 && k.batch.Attempted != nil {
		k.batch.Attempted()
	}
	if r.err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for i := range r.found {
		r.found[i].suspected = w.suspected(r.found[i].why, r.found[i].err)
	}
	k.add(s, r)
	a := answerTo(r.err, s.path)
	w.note(k, &s, a, r.err)
	switch decide(s, a, k.know(w.store.clock.now())) {
	case done:
		pause.Reset()
	case again:
		s.path = PathUpsert
		k.push(s)
		return retry.Sleep(ctx, pause.NextBackOff())
	case wait:
		w.store.trouble.failed(w, Classify(r.err), r.err)
		s.path = PathUpsert
		k.push(s)
		return retry.Sleep(ctx, pause.NextBackOff())
	case upsert:
		s.path = PathUpsert
		k.push(s)
	case search:
		k.push(searches(s)...)
	case split:
		fresh := s.path != PathUpsert && (a == badRow || a == crowded)
		k.push(parts(s, fresh, k.batch.Positions)...)
	case reject, defers:
		k.setAside(refusal{rows: s.rows, why: a, err: r.err, suspected: w.suspected(a, r.err), early: !k.stored()})
	}
	return nil
}

// suspected reports whether the schema is suspected to be at fault for a rejection.
func (w *Writer) suspected(why answer, err error) bool {
	return why == badRow && w.store.memory.suspect(reasonOf(err))
}

// note counts what an attempt met.
func (w *Writer) note(k *work, s *segment, a answer, err error) {
	switch a {
	case stored, crowded, badRow:
		return
	case away: // says nothing of the rows
		w.count(Classify(err), err)
		return
	case wrongPath:
		w.store.memory.wrongPath()
		return
	case slow:
		s.slow++
	case unexpected:
		if s.failures > 0 && !k.facts.careful {
			k.facts.careful = true
			w.store.memory.careful(Unexpected)
		}
	}
	s.failures++
	if a != busy {
		k.spent.refusals++
	}
	w.count(Classify(err), err)
}

// turnTo lets another part of parked rows come first next time, and makes the parts smaller while they
// are refused: bisecting might take longer than one Write of them may.
func (w *Writer) turnTo(k *work) {
	w.turn += k.spent.attempts
	w.part = min(2*w.part, parkedRows)
	if k.spent.refusals > 0 {
		w.part = max(w.part/8, 1)
	}
}

// count tells metrics of a failed attempt.
func (w *Writer) count(class Class, err error) {
	events := &w.store.opts.Events
	if events.Failed != nil {
		events.Failed(class)
	}
	if events.CommitUnknown != nil && outcomeUnknown(err) {
		events.CommitUnknown()
	}
}

// settle decides about rows that were set aside. Where nothing can be stored, it waits, and the rows are
// sent again.
func (w *Writer) settle(ctx context.Context, k *work, pause *backoff.ExponentialBackOff) error {
	held := w.resolve(k)
	if len(held) == 0 {
		return nil
	}
	err := fault(held[0], k.several(held))
	w.store.trouble.failed(w, Classify(err), err)
	k.again(held, w.store.clock.now())
	return retry.Sleep(ctx, pause.NextBackOff())
}
