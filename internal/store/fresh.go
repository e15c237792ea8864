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

// uniqueViolation is the SQLSTATE of a key that is there already.
const uniqueViolation = "23505"

// errKeyExists: a COPY met a key that is there already and left nothing behind.
var errKeyExists = errors.New("a key exists already")

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
