// Package device keeps what the worker knows of each device: its newest position, when it was last heard
// of, and how often. The state is bounded, lives in memory only and starts empty with the process; the
// truth is in the hypertable.
package device

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"processor/internal/position"
)

// Fix is a position without its device and attributes, so that it holds no memory but its own.
// Units are those of position.Position.
type Fix struct {
	Timestamp              time.Time // UTC
	Latitude, Longitude    float64
	Altitude, Angle, Speed float32
	Satellites, Priority   uint8
}

// State is what is known of one device.
type State struct {
	// LastPosition is the fix with the newest Timestamp. Of two with the same one, the first stands.
	LastPosition Fix
	// LastSeen is when the last record was observed, by this host's clock, however old its fix.
	LastSeen time.Time
	// PositionCountSession counts the records since the device entered the cache.
	PositionCountSession uint64
}

// NamedState is the state of one device along with its identifier.
type NamedState struct {
	DeviceID string
	State
}

// Cache holds the state of the most recently seen devices, up to its capacity. It is safe for concurrent
// use.
type Cache struct {
	mu        sync.Mutex
	lru       *simplelru.LRU[string, *State]
	evictions uint64
}

// New returns an empty cache for capacity devices, which must be at least 1.
func New(capacity int) (*Cache, error) {
	lru, err := simplelru.NewLRU[string, *State](capacity, nil)
	if err != nil {
		return nil, fmt.Errorf("device cache for %d devices: %w", capacity, err)
	}
	return &Cache{lru: lru}, nil
}

// Observe takes in positions that were committed, seen at now. It keeps copies: the caller may reuse or
// drop the positions and their memory. Positions sorted by device cost least. The lock is taken once.
func (c *Cache) Observe(now time.Time, positions []position.Position) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var state *State
	for i := range positions {
		p := &positions[i]
		// A batch is sorted by device, so its runs need one look-up each.
		if i == 0 || p.DeviceID != positions[i-1].DeviceID {
			state = c.touch(p.DeviceID)
		}
		if now.After(state.LastSeen) { // Writers may come here in another order than they took the time.
			state.LastSeen = now
		}
		state.PositionCountSession++
		if state.PositionCountSession == 1 || p.Timestamp.After(state.LastPosition.Timestamp) {
			state.LastPosition = fixOf(p)
		}
	}
}

// touch returns the state of deviceID, new if it has none, and makes it the most recently seen.
func (c *Cache) touch(deviceID string) *State {
	if state, ok := c.lru.Get(deviceID); ok {
		return state
	}
	state := &State{}
	if c.lru.Add(strings.Clone(deviceID), state) {
		c.evictions++
	}
	return state
}

// Get returns a copy of the state of deviceID. It does not count as seeing the device.
func (c *Cache) Get(deviceID string) (State, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	state, ok := c.lru.Peek(deviceID)
	if !ok {
		return State{}, false
	}
	return *state, true
}

// Len returns how many devices the cache holds.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lru.Len()
}

// Evictions returns how many devices were dropped for want of room since New.
func (c *Cache) Evictions() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.evictions
}

// Newest returns copies of the states of the n most recently seen devices, the newest first. It walks the
// whole cache under the lock: it is for a view, not for the path of a batch.
func (c *Cache) Newest(n int) []NamedState {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := c.lru.Keys()
	newest := make([]NamedState, 0, max(min(n, len(ids)), 0))
	for i := len(ids) - 1; i >= 0 && len(newest) < n; i-- {
		if state, ok := c.lru.Peek(ids[i]); ok {
			newest = append(newest, NamedState{DeviceID: ids[i], State: *state})
		}
	}
	return newest
}

func fixOf(p *position.Position) Fix {
	return Fix{
		// UTC drops the pointer to a time zone that the decoder may have made.
		Timestamp: p.Timestamp.UTC(),
		Latitude:  p.Latitude, Longitude: p.Longitude,
		Altitude: p.Altitude, Angle: p.Angle, Speed: p.Speed,
		Satellites: p.Satellites, Priority: p.Priority,
	}
}
