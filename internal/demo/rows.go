package demo

import (
	"context"
	"fmt"
	"sync"
	"time"

	"processor/internal/store"
)

const (
	// countTimeout is for one count of the rows.
	countTimeout = 10 * time.Second
	// countEvery is the minimum time between two counts; countShare how much longer the pause is than the count was.
	countEvery = 500 * time.Millisecond
	countShare = 20
)

// rowCounter counts the rows of positions in the background. It is safe for concurrent use.
type rowCounter struct {
	store *store.Store

	mu    sync.Mutex
	rows  uint64
	known bool // the last count succeeded
}

// run counts until ctx ends. It takes at most a twentieth of a connection's time.
func (c *rowCounter) run(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		_, _ = c.count(ctx) // an outage is shown as such
		select {
		case <-ctx.Done():
		case <-time.After(max(countEvery, countShare*time.Since(began))):
		}
	}
}

// count counts now.
func (c *rowCounter) count(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	n, err := c.store.Count(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known = err == nil; c.known {
		c.rows = uint64(n)
	}
	return c.rows, err
}

// last returns the last count, and whether it is of now.
func (c *rowCounter) last() (rows uint64, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rows, c.known
}

// compareRows counts the rows and sets them against the positions that were published.
func (d *demo) compareRows(ctx context.Context) string {
	rows, err := d.rows.count(ctx)
	if err != nil {
		return "the rows cannot be counted now"
	}
	published := d.fleet.Published() // read second: what was stored was published before
	if rows > published+d.fleet.Unconfirmed() {
		return fmt.Sprintf("%s for %s positions: %s too many", plural(rows, "row"), thousands(published), thousands(rows-published))
	}
	return fmt.Sprintf("%s for %s positions published so far, none twice", plural(rows, "row"), thousands(published))
}
