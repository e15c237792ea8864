package store

import (
	"fmt"
	"slices"
	"time"
)

// Bounds of what one Write spends on bisecting rows that are refused for another reason than their values,
// so that other batches do not wait: then the rest is parked and tried in the background.
const (
	maxRefusals = 256
	maxBisected = 2 * time.Second
)

// maxAlone is how many rows may be refused one by one before the rest of the batch is tried as it is, to see
// whether the server takes anything.
const maxAlone = 3

// queue holds the rows of a batch that are undecided.
type queue struct {
	order []int32   // all rows of the batch, sorted by key
	stack []segment // still to send; the last one is next
	aside []refusal // refused, and to be looked at when the stack is empty
}

func (q *queue) push(segments ...segment) {
	for _, s := range slices.Backward(segments) {
		if len(s.rows) > 0 {
			q.stack = append(q.stack, s)
		}
	}
}

func (q *queue) pop() segment {
	s := q.stack[len(q.stack)-1]
	q.stack = q.stack[:len(q.stack)-1]
	return s
}

// work is one Write on its way.
type work struct {
	batch Batch
	began time.Time
	queue
	result Result
	facts  facts // doubt: as long as nothing of the batch is stored
	spent  effort
	cycle  int // how often rows were held
	chances
}

// chances are what rows that were refused get once, when others of the batch were stored since.
type chances struct {
	retried   bool // rows that met a fault of server or schema were tried again
	rechecked bool // rows that were rejected before anything was stored were tried again
}

// effort is what was spent on rows that were refused.
type effort struct {
	began    time.Time
	attempts int
	refusals int // attempts refused for another reason than values of a row
	alone    int // rows refused one by one for such a reason
	bad      int // rows rejected
}

// begin plans the segments of a batch.
func (w *Writer) begin(batch Batch) *work {
	now := w.store.clock.now()
	k := &work{batch: batch, began: now, facts: facts{doubt: true}, spent: effort{began: now}}
	k.order = w.sorter.sort(batch.Positions)
	if batch.Parked {
		k.facts.parked = true
		k.push(w.planParked(k)...)
		return k
	}
	start := w.store.memory.begin(len(k.order) > fewRows)
	k.facts.careful = start.careful
	fresh := !batch.Redelivered && !batch.Single && !start.upsert
	soon, later := atOnce(portions(batch.Positions, k.order, dayOfTime(now), w.store.memory.known))
	var plan []segment
	for _, rows := range soon {
		s := segment{rows: rows, path: PathUpsert}
		if fresh {
			s.path = pathFor(batch.Positions, rows)
		}
		switch {
		case len(rows) <= fewRows:
			plan = append(plan, s)
		case start.split:
			plan = append(plan, parts(s, fresh, batch.Positions)...)
		case start.search:
			plan = append(plan, searches(s)...)
		default:
			plan = append(plan, s)
		}
	}
	k.push(plan...)
	k.park(later, ErrManyChunks)
	return k
}

// planParked cuts parked rows into small segments of few days and begins where the last Write stopped, so
// that rows that take long do not keep the others from their turn.
func (w *Writer) planParked(k *work) []segment {
	var plan []segment
	now, _ := portions(k.batch.Positions, k.order, dayOfTime(w.store.clock.now()), func(int64) bool { return true })
	for _, portion := range now {
		for rows := range slices.Chunk(portion, w.part) {
			plan = append(plan, segment{rows: rows, path: PathUpsert})
		}
	}
	if len(plan) == 0 {
		return nil
	}
	turn := w.turn % len(plan)
	return append(plan[turn:len(plan):len(plan)], plan[:turn]...)
}

// stored reports whether a row of the batch is in the table now.
func (k *work) stored() bool {
	return k.result.Inserted+k.result.Merged+k.result.Unchanged > 0
}

// add takes what an attempt at a segment achieved.
func (k *work) add(s segment, r reply) {
	if k.batch.Fresh != nil && r.err == nil {
		k.markFresh(s, r)
	}
	before := k.stored()
	k.result.Inserted += r.Inserted
	k.result.Merged += r.Merged
	k.result.Unchanged += r.Unchanged
	for _, f := range r.found {
		f.early = f.early && !before
		k.setAside(f)
	}
}

// markFresh fills in Batch.Fresh after the commit: COPY and the plain insert fail on a key that is there.
func (k *work) markFresh(s segment, r reply) {
	fresh := r.fresh
	if s.path != PathUpsert && (!s.search || len(s.rows) == 1) {
		fresh = [][]int32{s.rows}
	}
	for _, rows := range fresh {
		for _, row := range rows {
			k.batch.Fresh[row] = true
		}
	}
	for _, f := range r.found { // a trigger swallowed them
		for _, row := range f.rows {
			k.batch.Fresh[row] = false
		}
	}
}

// setAside keeps refused rows until the rest of the batch was tried.
func (k *work) setAside(f refusal) {
	k.aside = append(k.aside, f)
	switch {
	case len(f.rows) > 1:
	case f.why == badRow:
		k.spent.bad++
	default:
		k.spent.alone++
	}
}

// know returns what decide may know beside the segment.
func (k *work) know(now time.Time) facts {
	f := k.facts
	f.doubt = f.doubt && !k.stored() && (k.spent.alone >= maxAlone || k.spent.bad >= maxRejected)
	f.spent = k.spent.refusals >= maxRefusals || k.spent.refusals > 0 && now.Sub(k.spent.began) >= maxBisected
	return f
}

// late reports whether a Write of parked rows has taken long enough.
func (k *work) late(now time.Time) bool {
	return k.batch.Parked && k.cycle == 0 && k.spent.attempts > 0 && now.Sub(k.spent.began) >= maxBisected
}

func (k *work) park(rows []int32, err error) {
	for _, row := range rows {
		k.result.Parked = append(k.result.Parked, Parked{Index: int(row), Err: err})
	}
}

// parkRest parks what was not tried.
func (k *work) parkRest() {
	for len(k.stack) > 0 {
		k.park(k.pop().rows, fmt.Errorf("not tried again yet: %w", ErrManyChunks))
	}
}
