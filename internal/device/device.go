// Package device caches the state of each device: its newest position, when it was last seen, and how
// many positions it has sent. The cache is bounded, in memory only, and empty when the process starts; the
// hypertable is authoritative.
//
// [Cache] holds a [State] for each device, whose newest position is a [Fix].
package device

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"processor/internal/position"
)

// Fix is a position without device and attributes, so that it references no other memory. Units are as
// in position.Position.
type Fix struct {
	Timestamp              time.Time // UTC
	Latitude, Longitude    float64
	Altitude, Angle, Speed float32
	Satellites, Priority   uint8
}

// State is the state of one device.
type State struct {
	// LastPosition is the fix with the newest Timestamp. Of two fixes with the same Timestamp, the first
	// observed is kept.
	LastPosition Fix
	// LastSeen is when a position of the device was last observed, by this host's clock. It does not depend
	// on the fix time.
	LastSeen time.Time
	// PositionCountSession counts the positions observed since the device entered the cache.
	PositionCountSession uint64
}

// NamedState is the state of one device with its identifier.
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

// New returns an empty cache for capacity devices. It returns an error if capacity is below 1.
func New(capacity int) (*Cache, error) {
	lru, err := simplelru.NewLRU[string, *State](capacity, nil)
	if err != nil {
		return nil, fmt.Errorf("device cache for %d devices: %w", capacity, err)
	}
	return &Cache{lru: lru}, nil
}

// Observe updates the cache with committed positions, seen at now. It copies: the caller may reuse the
// positions and their memory. It is fastest if positions are sorted by device.
func (c *Cache) Observe(now time.Time, positions []position.Position) { c.observe(now, positions, nil) }

// ObserveEach is Observe, and returns for each position the newest fix of its device that was observed before
// it; nil where there was none since the device entered the cache.
func (c *Cache) ObserveEach(now time.Time, positions []position.Position) []*Fix {
	previous := make([]*Fix, len(positions))
	fixes := make([]Fix, len(positions))
	c.observe(now, positions, func(i int, state *State) {
		if state.PositionCountSession > 0 {
			fixes[i] = state.LastPosition
			previous[i] = &fixes[i]
		}
	})
	return previous
}

// observe calls before, where set, with the state before each position.
func (c *Cache) observe(now time.Time, positions []position.Position, before func(i int, state *State)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var state *State
	for i := range positions {
		p := &positions[i]
		// A batch is sorted by device, so a run of positions needs one lookup.
		if i == 0 || p.DeviceID != positions[i-1].DeviceID {
			state = c.touch(p.DeviceID)
		}
		if before != nil {
			before(i, state)
		}
		if now.After(state.LastSeen) { // writers may arrive in a different order than they read the clock
			state.LastSeen = now
		}
		state.PositionCountSession++
		if state.PositionCountSession == 1 || p.Timestamp.After(state.LastPosition.Timestamp) {
			state.LastPosition = fixOf(p)
		}
	}
}

// touch returns the state of deviceID, which it creates if missing, and makes it the most recently seen.
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

// Len returns the number of devices in the cache.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lru.Len()
}

// Evictions returns the number of devices evicted since New because the cache was full.
func (c *Cache) Evictions() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.evictions
}

// Newest returns copies of the states of the n most recently seen devices, most recent first. It holds the
// lock while it lists all devices, so it is not for the write path.
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
		// UTC drops the pointer to a time zone that the decoder may have allocated.
		Timestamp: p.Timestamp.UTC(),
		Latitude:  p.Latitude, Longitude: p.Longitude,
		Altitude: p.Altitude, Angle: p.Angle, Speed: p.Speed,
		Satellites: p.Satellites, Priority: p.Priority,
	}
}
