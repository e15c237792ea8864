package stream

import "sync"

// count is what this process knows of the group's entries-read: whether it counts exactly the entries
// up to the last one delivered. Its methods are safe for concurrent use.
type count struct {
	mu    sync.Mutex
	exact bool
	run   string // of the server, as last seen; empty where it is not known
	last  ID     // delivered
	read  int64
	looks int // so far
}

// started returns what see has to be given about a look that begins now.
func (c *count) started() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.looks
}

// begin is called when the group was created.
func (c *count) begin() { c.confirm("", ID{}, 0) }

// confirm is called when entries-read is known to be right.
func (c *count) confirm(run string, last ID, read int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.exact, c.run, c.last, c.read = true, run, last, read
	c.looks++
}

// see takes a look that began at started, and reports whether entries-read is still right. It is not
// where it or the group went back, or the server's data are another's. Read is nil where Redis has no
// count, which before the first read means 0; run is empty where it is not known.
func (c *count) see(started int, run string, last ID, read *int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if run != "" {
		if c.run != "" && run != c.run {
			c.exact = false
		}
		c.run = run
	}
	if read == nil && last != (ID{}) {
		c.exact = false
	}
	if started != c.looks {
		return c.exact // another look came in between, perhaps with newer counts
	}
	now := int64(0)
	if read != nil {
		now = *read
	}
	if !goesOn(c.last, last, c.read, now) {
		c.exact = false
	}
	c.last, c.read = last, now
	c.looks++
	return c.exact
}
