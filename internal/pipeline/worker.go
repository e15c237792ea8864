package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"processor/internal/deadletter"
	"processor/internal/observe"
	"processor/internal/position"
	"processor/internal/store"
	"processor/internal/stream"
)

// worker takes batches through their life, one at a time. Its buffers serve the next batch.
type worker struct {
	pipeline *Pipeline
	writer   *store.Writer
	decoder  position.Decoder

	positions []position.Position
	sources   []int // positions[i] comes from entry sources[i]
	letters   []stream.Letter
	acks      []stream.ID
	trimmed   []stream.ID // only the id is left of them
	waiting   []waiting
}

// waiting is an entry whose row has to wait alone.
type waiting struct {
	entry int // into the batch's entries
	err   error
}

func (p *Pipeline) newWorker() *worker {
	return &worker{pipeline: p, writer: p.Store.NewWriter()}
}

func (w *worker) run(work context.Context, batches <-chan *batch) {
	for b := range batches {
		life := w.process
		if b.buried > 0 {
			life = w.bury
		}
		if err := life(work, b); err != nil {
			w.pipeline.Logger.Warn("batch given up; its entries stay pending",
				"stream", b.consumer.Stream(), "entries", len(b.Entries), "error", err)
		}
		w.handOver(work, b)
		w.forget()
		close(b.done)
	}
}

// handOver gives the entries that wait alone to the stream's waiter.
func (w *worker) handOver(work context.Context, b *batch) {
	for _, waiting := range w.waiting {
		entry := &b.Entries[waiting.entry]
		if err := w.pipeline.waiters[b.consumer].take(work, entry, waiting.err); err != nil {
			w.pipeline.Logger.Warn("entry given up that waits alone; it stays pending",
				"stream", b.consumer.Stream(), "entry", entry.ID.String(), "error", err)
		}
	}
}

// forget lets go of the batch's memory: the buffers serve the next one, which may come in hours.
func (w *worker) forget() {
	clear(w.positions[:cap(w.positions)]) // keepRows may have made it shorter
	clear(w.letters)
	w.decoder.Reset()
	w.positions, w.sources = w.positions[:0], w.sources[:0]
	w.letters, w.acks, w.trimmed, w.waiting = w.letters[:0], w.acks[:0], w.trimmed[:0], w.waiting[:0]
}

// process is the life of a batch after the read. Each step waits out trouble, so the only
// error is that work is over.
func (w *worker) process(work context.Context, b *batch) error {
	w.decode(b)
	w.pipeline.step(Decoded)

	result, err := w.writer.Write(work, store.Batch{
		Positions:   w.positions,
		Redelivered: b.Redelivered,
		Single:      b.lastChance,
		Parked:      b.waited,
	})
	if err != nil {
		return err
	}
	w.pipeline.step(Committed)

	w.reject(b, result.Rejected)
	w.setApart(result.Parked)
	w.keepRows()
	w.observe(b, result)
	w.logRecords(work, b)
	w.pipeline.step(Observed)
	return w.settle(work, b)
}

// settle ends a batch in Redis: dead letters first, then XACK of the rest.
func (w *worker) settle(work context.Context, b *batch) error {
	if err := w.deadLetter(work, b); err != nil {
		return err
	}
	if err := w.acknowledge(work, b); err != nil {
		return err
	}
	w.pipeline.step(Acknowledged)
	return nil
}

// decode sorts the entries into positions, letters and what is only to be acknowledged.
func (w *worker) decode(b *batch) {
	now := time.Now()
	for i := range b.Entries {
		entry := &b.Entries[i]
		if entry.Trimmed {
			w.trimmed = append(w.trimmed, entry.ID)
			continue
		}
		if entry.Oversize > 0 {
			w.letters = append(w.letters, tooLarge(entry, b.consumer.MaxEntry))
			continue
		}
		pos, err := w.decoder.Decode(entry.Payload)
		if err != nil {
			w.letters = append(w.letters, undecodable(entry, err))
			continue
		}
		if detail := w.pipeline.Options.Window.Outside(now, pos.Timestamp); detail != "" {
			w.letters = append(w.letters, stream.Letter{
				Entry: entry, Reason: string(deadletter.TimestampOutOfWindow), Detail: detail})
			continue
		}
		w.positions = append(w.positions, pos)
		w.sources = append(w.sources, i)
	}
}

// lost reports pending entries of which Redis has nothing left.
func (p *Pipeline) lost(stream string, entries int) {
	p.Metrics.LostPending.WithLabelValues(stream).Add(float64(entries))
	p.Logger.Error("pending entries were trimmed from the stream before they became rows; they are lost",
		"stream", stream, "entries", entries)
}

// tooLarge makes a letter of what is kept of an entry beyond the limit.
func tooLarge(entry *stream.Entry, limit int) stream.Letter {
	return stream.Letter{
		Entry:  entry,
		Reason: string(deadletter.TooLarge),
		Detail: fmt.Sprintf("entry %s has %d bytes, the limit is %d (--max-entry-bytes); this letter holds its first fields and the first 4096 bytes of each value",
			entry.ID, entry.Oversize, limit),
	}
}

func undecodable(entry *stream.Entry, err error) stream.Letter {
	letter := stream.Letter{Entry: entry, Detail: err.Error()}
	var e *position.Error
	if errors.As(err, &e) {
		letter.Reason = string(e.Reason)
	}
	return letter
}

// reject makes letters of what the database refused.
func (w *worker) reject(b *batch, rejected []store.Rejection) {
	for _, r := range rejected {
		reason := deadletter.RejectedByDatabase
		if r.Class != store.BadRow {
			reason = deadletter.DeliveredTooOften
		}
		w.letters = append(w.letters, stream.Letter{
			Entry:    &b.Entries[w.sources[r.Index]],
			Reason:   string(reason),
			Detail:   r.Detail(),
			SQLState: r.SQLState,
		})
		w.sources[r.Index] = noRow
	}
}

// setApart remembers what is no row yet, and must not be acknowledged.
func (w *worker) setApart(apart []store.Parked) {
	for _, a := range apart {
		w.waiting = append(w.waiting, waiting{entry: w.sources[a.Index], err: a.Err})
		w.sources[a.Index] = noRow
	}
}

// noRow stands in sources for a position that did not become a row.
const noRow = -1

// keepRows leaves in positions what is a row.
func (w *worker) keepRows() {
	kept := 0
	for i, source := range w.sources {
		if source == noRow {
			continue
		}
		w.positions[kept], w.sources[kept] = w.positions[i], source
		kept++
	}
	w.positions, w.sources = w.positions[:kept], w.sources[:kept]
}

// observe counts what the database has now, and tells the devices' state.
func (w *worker) observe(b *batch, result store.Result) {
	p, now := w.pipeline, time.Now()
	p.Ledger.Settle(observe.Inserted, result.Inserted)
	p.Ledger.Settle(observe.Merged, result.Merged)
	p.Ledger.Settle(observe.Unchanged, result.Unchanged)
	p.Metrics.BatchPositions.Observe(float64(len(w.positions)))
	p.Devices.Observe(now, w.positions)
	for i := range w.positions {
		id := b.Entries[w.sources[i]].ID
		w.acks = append(w.acks, id)
		p.Metrics.ObserveEntryDelay(now.Sub(id.Time()))
		p.Metrics.ObservePositionDelay(now.Sub(w.positions[i].Timestamp))
	}
}

// logRecords is the only place that logs single records; it may hold coordinates.
func (w *worker) logRecords(work context.Context, b *batch) {
	if !w.pipeline.Logger.Enabled(work, slog.LevelDebug) {
		return
	}
	for i := range w.positions {
		pos := &w.positions[i]
		w.pipeline.Logger.Debug("position is a row",
			"stream", b.consumer.Stream(), "entry", b.Entries[w.sources[i]].ID.String(),
			"device_id", pos.DeviceID, "ts", pos.Timestamp, "latitude", pos.Latitude, "longitude", pos.Longitude)
	}
}

// deadLetter copies what cannot be a row to the dead-letter stream and acknowledges it.
func (w *worker) deadLetter(work context.Context, b *batch) error {
	if len(w.letters) == 0 {
		return nil
	}
	err := w.untilDone(work, b, "write dead letters", func() error {
		_, err := b.consumer.DeadLetter(work, w.letters)
		return err
	})
	if err != nil {
		return err
	}
	w.pipeline.step(DeadLettered)
	w.pipeline.Ledger.Settle(observe.DeadLettered, len(w.letters))
	for i := range w.letters {
		w.pipeline.Metrics.DeadLetters.WithLabelValues(w.letters[i].Reason).Inc()
		w.pipeline.Logger.Debug("entry dead-lettered", "stream", b.consumer.Stream(),
			"entry", w.letters[i].Entry.ID.String(), "reason", w.letters[i].Reason, "detail", w.letters[i].Detail)
	}
	first := w.letters[0]
	w.pipeline.Logger.Warn("entries cannot be rows; they are on the dead-letter stream",
		"stream", b.consumer.Stream(), "entries", len(w.letters), "first", first.Entry.ID.String(), "first_reason", first.Detail)
	return nil
}

// acknowledge is the last step: everything else about these entries is durable.
func (w *worker) acknowledge(work context.Context, b *batch) error {
	err := w.untilDone(work, b, "acknowledge entries", func() error {
		_, err := b.consumer.Ack(work, w.acks)
		return err
	})
	if err != nil || len(w.trimmed) == 0 {
		return err
	}
	return w.untilDone(work, b, "acknowledge entries", func() error {
		// Another replica's XAUTOCLAIM may have found them gone first: then it counts them.
		n, err := b.consumer.Ack(work, w.trimmed)
		if n > 0 {
			w.pipeline.lost(b.consumer.Stream(), n)
		}
		return err
	})
}
