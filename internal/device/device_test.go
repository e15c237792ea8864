package device

import (
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"processor/internal/position"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	seen = noon.Add(time.Hour)
)

func newCache(t testing.TB, capacity int) *Cache {
	t.Helper()
	cache, err := New(capacity)
	require.NoError(t, err)
	return cache
}

// at is a position of device, seconds after noon, at latitude lat.
func at(device string, seconds int, lat float64) position.Position {
	return position.Position{DeviceID: device, Timestamp: noon.Add(time.Duration(seconds) * time.Second), Latitude: lat}
}

func states(c *Cache) map[string]State {
	all := map[string]State{}
	for _, s := range c.Newest(c.Len()) {
		all[s.DeviceID] = s.State
	}
	return all
}

func TestNew_NeedsRoom(t *testing.T) {
	_, err := New(0)
	require.EqualError(t, err, "device cache for 0 devices: must provide a positive size")
}

// What was observed before a position, of this call or an earlier one, whatever its fix time.
func TestCache_ObserveEach(t *testing.T) {
	c := newCache(t, 10)
	c.Observe(seen, []position.Position{at("a", 5, 1)})
	fix := func(seconds int, lat float64) *Fix {
		return &Fix{Timestamp: noon.Add(time.Duration(seconds) * time.Second), Latitude: lat}
	}
	batch := []position.Position{at("a", 9, 2), at("b", 1, 3), at("a", 7, 4), at("b", 2, 5), at("a", 10, 6)}
	require.Equal(t, []*Fix{fix(5, 1), nil, fix(9, 2), fix(1, 3), fix(9, 2)}, c.ObserveEach(seen, batch))
	require.Equal(t, map[string]State{
		"a": {LastPosition: *fix(10, 6), LastSeen: seen, PositionCountSession: 4},
		"b": {LastPosition: *fix(2, 5), LastSeen: seen, PositionCountSession: 2},
	}, states(c))
	require.Empty(t, c.ObserveEach(seen, nil))
}

func TestCache_Observe(t *testing.T) {
	fix := func(seconds int, lat float64) Fix {
		return Fix{Timestamp: noon.Add(time.Duration(seconds) * time.Second), Latitude: lat}
	}
	tests := []struct {
		name    string
		batches [][]position.Position
		want    map[string]State
	}{
		{"nothing", [][]position.Position{{}}, map[string]State{}},
		{"a first position, even of year 1", [][]position.Position{{{DeviceID: "a", Latitude: 1}}},
			map[string]State{"a": {Fix{Latitude: 1}, seen, 1}}},
		{"newer moves the position", [][]position.Position{{at("a", 1, 1)}, {at("a", 2, 2)}},
			map[string]State{"a": {fix(2, 2), seen.Add(time.Second), 2}}},
		{"older moves only last seen and count", [][]position.Position{{at("a", 2, 2)}, {at("a", 1, 1)}},
			map[string]State{"a": {fix(2, 2), seen.Add(time.Second), 2}}},
		{"of one timestamp the first stands", [][]position.Position{{at("a", 2, 2), at("a", 2, 3)}},
			map[string]State{"a": {fix(2, 2), seen, 2}}},
		{"devices in turns", [][]position.Position{{at("a", 1, 1), at("b", 5, 5), at("a", 3, 3), at("b", 4, 4)}, {at("b", 6, 6)}},
			map[string]State{"a": {fix(3, 3), seen, 2}, "b": {fix(6, 6), seen.Add(time.Second), 3}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cache := newCache(t, 10)
			require.Empty(t, states(cache))
			for i, batch := range tt.batches {
				cache.Observe(seen.Add(time.Duration(i)*time.Second), batch)
			}
			require.Equal(t, tt.want, states(cache))
			require.Equal(t, len(tt.want), cache.Len())
			require.Zero(t, cache.Evictions())
		})
	}
}

func TestCache_KeepsEveryFieldOfTheFix(t *testing.T) {
	cache := newCache(t, 1)
	cache.Observe(seen, []position.Position{{
		DeviceID: "a", Timestamp: noon.In(time.FixedZone("CET", 3600)), Latitude: 1, Longitude: 2, Altitude: 3, Angle: 4,
		Speed: 5, Satellites: 6, Priority: 7, Attributes: []byte("{}"),
	}})
	got, ok := cache.Get("a")
	require.True(t, ok)
	require.Equal(t, State{
		LastPosition: Fix{Timestamp: noon, Latitude: 1, Longitude: 2, Altitude: 3, Angle: 4, Speed: 5, Satellites: 6, Priority: 7},
		LastSeen:     seen, PositionCountSession: 1,
	}, got)
}

func TestCache_LastSeenDoesNotGoBack(t *testing.T) {
	cache := newCache(t, 1)
	cache.Observe(seen, []position.Position{at("a", 1, 1)})
	cache.Observe(seen.Add(-time.Second), []position.Position{at("a", 2, 2)})
	got, _ := cache.Get("a")
	require.Equal(t, State{Fix{Timestamp: noon.Add(2 * time.Second), Latitude: 2}, seen, 2}, got)
}

func TestCache_EvictsTheLeastRecentlySeen(t *testing.T) {
	cache := newCache(t, 2)
	cache.Observe(seen, []position.Position{at("a", 1, 1), at("b", 1, 1), at("a", 2, 2)})
	_, ok := cache.Get("b")
	require.True(t, ok, "and Get does not count as seeing")

	cache.Observe(seen, []position.Position{at("c", 1, 1)})
	ids := []string{}
	for _, s := range cache.Newest(5) {
		ids = append(ids, s.DeviceID)
	}
	require.Equal(t, []string{"c", "a"}, ids)
	require.Equal(t, 2, cache.Len())
	require.Equal(t, uint64(1), cache.Evictions())
	_, ok = cache.Get("b")
	require.False(t, ok)

	cache.Observe(seen, []position.Position{at("b", 1, 1), at("d", 1, 1), at("e", 1, 1)})
	require.Equal(t, 2, cache.Len())
	require.Equal(t, uint64(4), cache.Evictions())
	b, ok := cache.Get("e")
	require.True(t, ok)
	require.Equal(t, uint64(1), b.PositionCountSession)
}

func TestCache_Newest(t *testing.T) {
	cache := newCache(t, 5)
	cache.Observe(seen, []position.Position{at("a", 1, 1), at("b", 9, 9), at("c", 3, 3), at("a", 4, 4)})
	for n, want := range map[int][]string{-1: {}, 0: {}, 1: {"a"}, 2: {"a", "c"}, 3: {"a", "c", "b"}, 9: {"a", "c", "b"}} {
		ids := []string{}
		for _, s := range cache.Newest(n) {
			ids = append(ids, s.DeviceID)
		}
		require.Equal(t, want, ids, n)
	}
}

// A batch's positions lie in one buffer. Once the batch is dropped the buffer must be free, while the
// cache that saw it lives on.
func TestCache_KeepsNoBatchAlive(t *testing.T) {
	cache := newCache(t, 10)
	freed := make(chan struct{})
	func() {
		buffer := new([1 << 16]byte)
		runtime.AddCleanup(buffer, func(done chan struct{}) { close(done) }, freed)
		batch := make([]position.Position, 20)
		for i := range batch {
			n := copy(buffer[i*64:], fmt.Sprintf("device-%02d", i/2))
			batch[i] = at(unsafe.String(&buffer[i*64], n), i, float64(i))
			batch[i].Attributes = buffer[i*64 : i*64+n]
		}
		cache.Observe(seen, batch)
		// What the buffer is used for next must not show.
		clear(buffer[:])
	}()

	require.Eventually(t, func() bool {
		runtime.GC()
		select {
		case <-freed:
			return true
		default:
			return false
		}
	}, 10*time.Second, time.Millisecond, "the cache holds the buffer of a batch")
	require.Equal(t, 10, cache.Len())
	for i := range 10 {
		got, ok := cache.Get(fmt.Sprintf("device-%02d", i))
		require.True(t, ok)
		require.Equal(t, State{Fix{Timestamp: noon.Add(time.Duration(2*i+1) * time.Second), Latitude: float64(2*i + 1)}, seen, 2}, got)
	}
}

func TestCache_KnownDevicesAllocateNothing(t *testing.T) {
	cache := newCache(t, 100)
	batch := batchOf(1000, 100)
	cache.Observe(seen, batch)
	require.Zero(t, testing.AllocsPerRun(10, func() { cache.Observe(seen, batch) }))
}

func TestCache_ConcurrentUse(t *testing.T) {
	cache := newCache(t, 50)
	batch := batchOf(1000, 50)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				cache.Observe(seen, batch)
				cache.Newest(3)
				cache.Get(batch[0].DeviceID)
			}
		})
	}
	wg.Wait()
	var total uint64
	for _, s := range states(cache) {
		total += s.PositionCountSession
	}
	require.Equal(t, uint64(4*10*1000), total)
	require.Zero(t, cache.Evictions())
}

// batchOf returns n positions of so many devices, sorted by device and time.
func batchOf(n, devices int) []position.Position {
	batch := make([]position.Position, n)
	for i := range batch {
		batch[i] = at(strconv.Itoa(860000000000000+i*devices/n), i, 1)
	}
	return batch
}

// One op is one position.
func BenchmarkCache_Observe(b *testing.B) {
	for _, devices := range []int{100, 5_000, 10_000} {
		b.Run(fmt.Sprintf("devices=%d", devices), func(b *testing.B) {
			cache := newCache(b, 100_000)
			const size = 5_000
			batch := batchOf(max(size, devices), devices)
			cache.Observe(seen, batch)
			b.ReportAllocs()
			b.ResetTimer()
			for done := 0; done < b.N; {
				from := done % len(batch)
				to := min(from+size, len(batch), from+b.N-done)
				cache.Observe(seen, batch[from:to])
				done += to - from
			}
		})
	}
}
