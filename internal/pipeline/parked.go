package pipeline

import (
	"context"
	"slices"
	"sync"

	"processor/internal/stream"
)

// maxParked is the maximum of entries in one queue of parked entries.
const maxParked = 10_000

// parkedItems is a queue of entries that wait for a later attempt. It holds copies, within its limits, and
// nobody waits for room in it: what does not fit stays pending in Redis alone. It is safe for concurrent use.
type parkedItems struct {
	maxBytes int

	mu     sync.Mutex
	items  []item // those to try next come first
	held   map[stream.ID]held
	bytes  int           // of all that are held
	whole  int           // of those held, the ones with a payload: they are what maxParked bounds
	signal chan struct{} // has a value when there may be items
	ended  chan struct{} // closed when no further items come
}

// held is an entry of which an item is queued, or was taken. There are several where the group went back
// (XGROUP SETID, a group made anew) and the entry was delivered again.
type held struct {
	items int
	whole int // of the items, those with a payload
	bytes int // of the payloads
	lost  bool
}

func newParked(maxBytes int) *parkedItems {
	return &parkedItems{
		maxBytes: maxBytes,
		held:     map[stream.ID]held{},
		signal:   make(chan struct{}, 1),
		ended:    make(chan struct{}),
	}
}

// put adds a copy of the item, and reports whether there was room. Of an item that is only to be
// acknowledged the id is kept, for which there always is.
func (q *parkedItems) put(it item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	size := 0
	if it.outcome == stored || it.outcome == lost {
		it.entry, it.err = &stream.Entry{ID: it.entry.ID}, nil
	} else {
		size = max(it.entry.Size(), 1)
		if q.whole >= maxParked || q.bytes+size > q.maxBytes && q.whole > 0 {
			return false
		}
		it.own()
	}
	h := q.held[it.entry.ID]
	h.items, h.bytes, h.lost = h.items+1, h.bytes+size, it.outcome == lost
	if size > 0 {
		h.whole++
		q.whole++
	}
	q.held[it.entry.ID] = h
	q.bytes += size
	q.queue(it)
	return true
}

// own makes the item independent of the memory of its batch.
func (i *item) own() {
	entry := i.entry.Clone()
	i.entry = &entry
	if r, is := i.err.(*refusal); is {
		r.letter.Entry = &entry
	}
}

// back puts an item that was taken at the end of the queue.
func (q *parkedItems) back(it item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queue(it)
}

// postpone puts the undecided items behind all others, which then do not wait for them.
func (q *parkedItems) postpone() {
	q.mu.Lock()
	defer q.mu.Unlock()
	slices.SortStableFunc(q.items, func(a, b item) int {
		switch {
		case a.outcome != undecided && b.outcome == undecided:
			return -1
		case a.outcome == undecided && b.outcome != undecided:
			return 1
		}
		return 0
	})
}

func (q *parkedItems) queue(it item) {
	q.items = append(q.items, it)
	select {
	case q.signal <- struct{}{}:
	default:
	}
}

// drop forgets an item that was taken. The room of several of one entry is free when all are dropped.
func (q *parkedItems) drop(id stream.ID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	h := q.held[id]
	if h.items--; h.items > 0 {
		q.held[id] = h
		return
	}
	delete(q.held, id)
	q.bytes -= h.bytes
	q.whole -= h.whole
}

// take takes up to so many items, which stay held until back or drop. An undecided one comes by itself.
func (q *parkedItems) take(count int) []item {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for n < min(count, len(q.items)) && (n == 0 || q.items[n].outcome != undecided && q.items[0].outcome != undecided) {
		n++
	}
	group := append([]item(nil), q.items[:n]...)
	clear(q.items[:n])
	if q.items = q.items[n:]; len(q.items) == 0 {
		q.items = nil
	}
	return group
}

// wait returns how many items are queued, once there are some. It returns 0 when there are none and no
// further ones come, or ctx has ended.
func (q *parkedItems) wait(ctx context.Context) int {
	for {
		ended := q.closed() // before the look: what comes before the end is seen
		if n := q.len(); n > 0 || ended || ctx.Err() != nil {
			return n
		}
		select {
		case <-q.signal:
		case <-q.ended:
		case <-ctx.Done():
		}
	}
}

// close says that no further items come.
func (q *parkedItems) close() { close(q.ended) }

func (q *parkedItems) closed() bool {
	select {
	case <-q.ended:
		return true
	default:
		return false
	}
}

func (q *parkedItems) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

// idsOnly returns how many of the items held are only to be acknowledged.
func (q *parkedItems) idsOnly() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.held) - q.whole
}

// room returns how many further items of the usual size fit; 0 where more than half of a limit is used.
func (q *parkedItems) room() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.whole > maxParked/2 || q.bytes > q.maxBytes/2 {
		return 0
	}
	return maxParked - q.whole
}

// fault returns why an item is parked that should be a row already; nil where there is none.
func (q *parkedItems) fault() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range q.items {
		if q.items[i].faulty() {
			return q.items[i].err
		}
	}
	return nil
}

// addTo adds the ids of the items held: true unless the entry is lost.
func (q *parkedItems) addTo(ids map[stream.ID]bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, h := range q.held {
		ids[id] = !h.lost
	}
}
