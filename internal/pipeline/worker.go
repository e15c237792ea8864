package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"processor/internal/observe"
	"processor/internal/position"
	"processor/internal/store"
)

// worker takes batches through their life, one load at a time. Its buffers serve the next batch.
type worker struct {
	pipeline *Pipeline
	writer   *store.Writer
	decoder  position.Decoder
	finisher finisher

	items     []item
	positions []position.Position
	rows      []row  // rows[i] is where positions[i] comes from
	fresh     []bool // fresh[i]: positions[i] is certainly a new row; empty where no listener asks
}

// row is where a position comes from.
type row struct {
	*item
	lane *lane
}

func (p *Pipeline) newWorker() *worker {
	return &worker{pipeline: p, writer: p.Store.NewWriter(), finisher: finisher{pipeline: p}}
}

// process is the life of a batch after the read. Afterwards each item is finished, or the lane has to
// park it. The only error is that work is over: then some items may be undecided.
func (w *worker) process(work context.Context, b *batch) error {
	if b.kind != quarantined { // one of those is not decoded
		if err := w.store(work, b); err != nil {
			return err
		}
	}
	w.finish(work, b)
	return nil
}

// store takes batches, which are written together, up to the point where Redis is to be told of them.
func (w *worker) store(work context.Context, batches ...*batch) error {
	entries := 0
	for _, b := range batches {
		entries += len(b.Entries)
	}
	w.items = slices.Grow(w.items, entries) // rows point to items
	for _, b := range batches {
		w.admit(b)
		w.decode(b)
	}
	w.pipeline.step(Decoded)
	if err := w.write(work, batches[0]); err != nil {
		return err
	}
	w.pipeline.step(Committed)
	w.observe(work)
	w.pipeline.step(Observed)
	return nil
}

// finish tells Redis of a batch. Rows that are committed come first: whatever happens to dead letters does not
// concern them.
func (w *worker) finish(work context.Context, b *batch) {
	w.finisher.acknowledge(work, b.lane, b.items)
	w.pipeline.step(Acknowledged)
	if w.finisher.deadLetter(work, b.lane, b.items) {
		w.pipeline.step(DeadLettered)
	}
}

// admit makes the batch's items, and decides those that are not to be decoded.
func (w *worker) admit(b *batch) {
	if b.items != nil {
		return // the lane has made them
	}
	first := len(w.items)
	for i := range b.Entries {
		it := item{entry: &b.Entries[i]}
		switch {
		case it.entry.Trimmed:
			it.outcome = lost
		case it.entry.Oversize > 0:
			it.oversized()
		}
		w.items = append(w.items, it)
	}
	b.items = w.items[first:]
}

// decode makes positions of the items that are undecided or parked, or decides why they are none.
func (w *worker) decode(b *batch) {
	now := time.Now()
	for i := range b.items {
		it := &b.items[i]
		if it.outcome != undecided && it.outcome != parked {
			continue
		}
		pos, err := w.decodeOne(it.entry.Payload)
		if err != nil {
			it.undecodable(err)
			continue
		}
		if detail := w.pipeline.Options.Window.Outside(now, pos.Timestamp); detail != "" {
			it.reject(position.TimestampOutOfWindow, detail, "")
			continue
		}
		w.positions = append(w.positions, pos)
		w.rows = append(w.rows, row{it, b.lane})
	}
}

// decodeOne turns a panic into an error: a defect that one payload meets must not end the process, at
// every start again. What was decoded before keeps its memory; the decoder begins anew.
func (w *worker) decodeOne(payload []byte) (pos position.Position, err error) {
	defer func() {
		if r := recover(); r != nil {
			w.decoder = position.Decoder{}
			err = fmt.Errorf("the decoder panics: %v", r)
		}
	}()
	return w.decoder.Decode(payload)
}

// write stores the positions and decides their items. Batches that are written together are of one kind: b is any
// of them.
func (w *worker) write(work context.Context, b *batch) error {
	if len(w.positions) == 0 {
		return nil
	}
	batch := store.Batch{
		Positions:   w.positions,
		Redelivered: b.kind != fresh,
		Single:      b.kind == single,
		Parked:      b.kind == retried,
	}
	if len(w.pipeline.subscribers) > 0 {
		w.fresh = append(w.fresh[:0], make([]bool, len(w.positions))...)
		batch.Fresh = w.fresh
	}
	if b.mark != nil {
		b.mark.writing(work)
		batch.Attempted = func() { b.mark.unset(work) }
	}
	result, err := w.writer.Write(work, batch)
	// After an error too: these rows are committed, and the next delivery of their entries finds them.
	ledger := w.pipeline.Ledger
	ledger.Settle(observe.Inserted, result.Inserted)
	ledger.Settle(observe.Merged, result.Merged)
	ledger.Settle(observe.Unchanged, result.Unchanged)
	if err != nil {
		return err
	}
	for _, row := range w.rows {
		row.outcome, row.err = stored, nil
	}
	for i := range result.Rejected {
		w.rows[result.Rejected[i].Index].refused(&result.Rejected[i])
	}
	for _, p := range result.Parked {
		it := w.rows[p.Index].item
		it.outcome, it.err = parked, p.Err
	}
	return nil
}

// observe shows the committed rows to the device cache, the listeners, the metrics and the debug log.
func (w *worker) observe(work context.Context) {
	p, now := w.pipeline, time.Now()
	w.keepStored()
	p.Metrics.BatchPositions.Observe(float64(len(w.positions)))
	if len(p.subscribers) > 0 && len(w.positions) > 0 {
		p.tell(w.positions, w.fresh, p.Devices.ObserveEach(now, w.positions))
	} else {
		p.Devices.Observe(now, w.positions)
	}
	debug := p.Logger.Enabled(work, slog.LevelDebug)
	var of *lane // the rows of one lane follow one another
	for i := range w.positions {
		if w.rows[i].lane != of {
			of = w.rows[i].lane
			p.Metrics.SetCommitted(of.name(), now)
		}
		pos, id := &w.positions[i], w.rows[i].entry.ID
		p.Metrics.ObserveEntryDelay(now.Sub(id.Time()))
		p.Metrics.ObservePositionDelay(now.Sub(pos.Timestamp))
		if debug { // the only place that logs single records; it holds coordinates
			w.rows[i].lane.logger.Debug("position stored", "entry", id.String(), "device_id", pos.DeviceID,
				"ts", pos.Timestamp, "latitude", pos.Latitude, "longitude", pos.Longitude)
		}
	}
}

// keepStored leaves in positions and rows what is committed.
func (w *worker) keepStored() {
	kept := 0
	for i, row := range w.rows {
		if row.outcome != stored {
			continue
		}
		if kept != i {
			w.positions[kept], w.rows[kept] = w.positions[i], row
			if len(w.fresh) > 0 {
				w.fresh[kept] = w.fresh[i]
			}
		}
		kept++
	}
	w.positions, w.rows = w.positions[:kept], w.rows[:kept]
}

// forget releases the batch's memory: the buffers serve the next one, which may come in hours.
func (w *worker) forget() {
	clear(w.positions[:cap(w.positions)]) // keepStored may have made it shorter
	clear(w.rows[:cap(w.rows)])
	clear(w.items)
	w.decoder.Reset()
	w.positions, w.rows, w.items = w.positions[:0], w.rows[:0], w.items[:0]
	w.fresh = w.fresh[:0]
}
