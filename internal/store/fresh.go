package store

import (
	"errors"
	"sync"
)

// Ways to write, as label values.
const (
	PathCopy   = "copy"
	PathUpsert = "upsert"
)

// SQLSTATEs of a COPY that the upsert can do instead.
const (
	uniqueViolation = "23505" // a key is there already
	wrongBinary     = "22P03" // a column has another type than COPY's encoder knows
	wrongMessage    = "08P01" // likewise, where the server expects more bytes
)

// errNotByCopy: a COPY met a key that is there already, or a column whose type somebody changed,
// and left nothing behind.
var errNotByCopy = errors.New("rows cannot be written by COPY")

// After a violation that many batches go by upsert before COPY is tried again, twice as many
// after each further one: a replay then pays for a failed COPY less and less often, while a
// lone duplicate costs little.
const (
	fewestUpserts = 16
	mostUpserts   = 1024
)

// fresh decides for all writers together whether fresh positions go by COPY, which is cheaper
// for the database by a third, and fails on the first key that is there.
type fresh struct {
	mu      sync.Mutex
	upserts int // batches still to go by upsert
	next    int // how many after the next violation
}

func (f *fresh) useCopy() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.upserts == 0 {
		return true
	}
	f.upserts--
	return false
}

func (f *fresh) violated() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next = min(max(2*f.next, fewestUpserts), mostUpserts)
	f.upserts = f.next
}

func (f *fresh) copied() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next = 0
}

// dividedBatches is how many batches are written in parts after one that held a bad row.
const dividedBatches = 16

// doubt remembers for all writers that bad rows are about. A batch that is written in parts from
// the start loses one part to a bad row, and not all that the server did until it met it: half a
// batch on average, which costs more than all that comes after.
type doubt struct {
	mu      sync.Mutex
	batches int // still to be written in parts
}

func (d *doubt) refused() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.batches = dividedBatches
}

func (d *doubt) divides() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.batches == 0 {
		return false
	}
	d.batches--
	return true
}
