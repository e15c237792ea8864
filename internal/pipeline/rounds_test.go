package pipeline

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/stream"
)

func batchOf(ids ...uint64) *batch {
	return &batch{Batch: stream.Batch{Entries: entries(ids...), Bytes: 100 * len(ids)}}
}

func newRounds() *rounds {
	return &rounds{linger: 10 * time.Millisecond, most: amount{5, 1 << 20}}
}

// joinAll joins at once, and returns the loads that are to be handed over, and after what time each.
func joinAll(ctx context.Context, r *rounds, batches ...*batch) (loads []load, after []time.Duration) {
	began := time.Now()
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, b := range batches {
		all.Go(func() {
			if l := r.join(ctx, b); l != nil {
				mu.Lock()
				defer mu.Unlock()
				loads, after = append(loads, l), append(after, time.Since(began))
			}
		})
		synctest.Wait() // in this order
	}
	all.Wait()
	return loads, after
}

// A stream by itself never waits for others.
func TestRounds_OneStreamGoesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRounds()
		for range 3 {
			b := batchOf(1)
			loads, after := joinAll(t.Context(), r, b)
			require.Equal(t, []load{{b}}, loads)
			require.Zero(t, after[0])
			began := time.Now()
			r.wait(t.Context())
			require.Equal(t, r.linger, time.Since(began))
		}
	})
}

// Lanes that go on reading come to share every round.
func TestRounds_GatherSeveralStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRounds()
		const lanes, batches = 3, 20
		var mu sync.Mutex
		var sizes []int
		var all sync.WaitGroup
		for range lanes {
			all.Go(func() {
				for range batches {
					b := batchOf(1)
					b.done = make(chan struct{})
					if l := r.join(t.Context(), b); l != nil {
						mu.Lock()
						sizes = append(sizes, len(l))
						mu.Unlock()
						for _, b := range l {
							close(b.done)
						}
					}
					<-b.done
					r.wait(t.Context())
				}
			})
		}
		all.Wait()
		require.LessOrEqual(t, len(sizes), batches+lanes, "rounds")
		require.Equal(t, []int{3, 3, 3, 3, 3}, sizes[5:10])
	})
}

// A stream that has nothing more, or hangs, is waited for a few times only, and never for long.
func TestRounds_ForgetStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRounds()
		r.expected = 3
		var waits []time.Duration
		for range 4 {
			_, after := joinAll(t.Context(), r, batchOf(1))
			waits = append(waits, after...)
			r.wait(t.Context())
		}
		require.Equal(t, []time.Duration{roundWindow, roundWindow, 0, 0}, waits)
	})
}

func TestRounds_AreBoundedByEntriesAndBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRounds()
		r.expected = 4
		a, b, large, c := batchOf(1, 2), batchOf(3, 4), batchOf(5, 6), batchOf(7)
		loads, _ := joinAll(t.Context(), r, a, b, large, c)
		require.Equal(t, []load{{large}, {a, b, c}}, loads)

		r.wait(t.Context())
		r.most.bytes, r.expected = 350, 4
		loads, _ = joinAll(t.Context(), r, a, b, c)
		require.Equal(t, []load{{b}, {a, c}}, loads)
	})
}

// After a common transaction took long, the stream that is at fault delays itself alone.
func TestRounds_SeparateStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRounds()
		r.expected = 2
		r.separate()
		a, b := batchOf(1), batchOf(2)
		loads, after := joinAll(t.Context(), r, a, b)
		require.Equal(t, []load{{a}, {b}}, loads)
		require.Equal(t, []time.Duration{0, 0}, after)
		began := time.Now()
		r.wait(t.Context())
		require.Equal(t, r.linger, time.Since(began), "a trickle stays one")

		r.apart = time.Now() // the time is over
		loads, _ = joinAll(t.Context(), r, a, b)
		require.Equal(t, []load{{a, b}}, loads)
	})
}

// All consumers of the group together commit as often as one would, up to a bound.
func TestRounds_ComeSlowerInACrowd(t *testing.T) {
	cases := map[string]struct {
		linger    time.Duration
		consumers int
		want      time.Duration
	}{
		"unknown":         {8 * time.Millisecond, 0, 8 * time.Millisecond},
		"one":             {8 * time.Millisecond, 1, 8 * time.Millisecond},
		"four":            {8 * time.Millisecond, 4, 32 * time.Millisecond},
		"many":            {8 * time.Millisecond, 100, maxLinger},
		"no linger":       {0, 4, 0},
		"a longer linger": {time.Second, 4, time.Second},
	}
	for name, c := range cases {
		synctest.Test(t, func(t *testing.T) {
			r := &rounds{linger: c.linger, most: amount{5, 1 << 20}}
			r.see(c.consumers)
			joinAll(t.Context(), r, batchOf(1))
			began := time.Now()
			r.wait(t.Context())
			require.Equal(t, c.want, time.Since(began), name)
		})
	}
}

// A stop does not wait for a round, and loses none of it.
func TestRounds_EndWithTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRounds()
		r.linger = time.Hour
		joinAll(t.Context(), r, batchOf(1))
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, stop)
		a, b := batchOf(2), batchOf(3)
		loads, after := joinAll(ctx, r, a, b)
		require.Equal(t, []load{{a, b}}, loads)
		require.Equal(t, []time.Duration{time.Second}, after)
	})
}
