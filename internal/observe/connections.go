package observe

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// maxConnections bounds the connections of one server. A scraper and an orchestrator need a few.
const maxConnections = 64

// connections keeps a server within maxConnections. A new connection is always taken: the one that has
// been without a request for longest is closed for it, so that probes are answered whatever others hold open.
type connections struct {
	mu   sync.Mutex
	open map[net.Conn]connection
}

type connection struct {
	state http.ConnState
	since time.Time
}

func newConnections() *connections { return &connections{open: make(map[net.Conn]connection)} }

// track is the ConnState of an http.Server, which calls it for a new connection before it accepts the next.
func (c *connections) track(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == http.StateClosed || state == http.StateHijacked {
		delete(c.open, conn)
		return
	}
	if state == http.StateNew && len(c.open) >= maxConnections {
		oldest := c.oldest()
		delete(c.open, oldest)
		_ = oldest.Close() // the server notices by itself
	}
	if _, known := c.open[conn]; known || state == http.StateNew { // else it was closed for another
		c.open[conn] = connection{state, time.Now()}
	}
}

// oldest prefers connections that wait for a request, then those that never sent one.
func (c *connections) oldest() (oldest net.Conn) {
	rank := map[http.ConnState]int{http.StateIdle: 0, http.StateNew: 1, http.StateActive: 2}
	for conn, this := range c.open {
		best := c.open[oldest]
		if oldest == nil || rank[this.state] < rank[best.state] ||
			this.state == best.state && this.since.Before(best.since) {
			oldest = conn
		}
	}
	return oldest
}

// count returns how many connections are open.
func (c *connections) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}
