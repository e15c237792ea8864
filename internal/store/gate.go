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

// errNotByCopy: a COPY met a key that is there already, or a column whose type somebody changed.
var errNotByCopy = errors.New("rows cannot be written by COPY")

// After a COPY that was refused, this many batches go by upsert before COPY is tried again; each
// further refusal doubles it. So a replay pays for a failed COPY less and less often, and a lone
// duplicate costs little.
const (
	fewestUpserts = 16
	mostUpserts   = 1024
)

// copyGate decides for all writers together whether fresh positions go by COPY, which is cheaper
// for the database, and fails on the first key that is there.
type copyGate struct {
	upserts countdown
	mu      sync.Mutex
	next    int // how many upserts after the next refusal
}

// allowed is asked once for each batch.
func (g *copyGate) allowed() bool { return !g.upserts.take() }

func (g *copyGate) refused() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.next = min(max(2*g.next, fewestUpserts), mostUpserts)
	g.upserts.start(g.next)
}

func (g *copyGate) passed() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.next = 0
}

// countdown is true for a number of times after each start. It is safe for concurrent use.
type countdown struct {
	mu   sync.Mutex
	left int
}

func (c *countdown) start(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = n
}

func (c *countdown) take() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left == 0 {
		return false
	}
	c.left--
	return true
}
