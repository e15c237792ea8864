package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"processor/internal/device"
	"processor/internal/position"
)

// listenerFunc is a Listener for tests.
type listenerFunc func(ctx context.Context, rows []Row)

func (f listenerFunc) Committed(ctx context.Context, rows []Row) { f(ctx, rows) }

// listening starts a pipeline's listeners; stop ends them, as Run does, with a context that giveUp ends.
func listening(t testing.TB, listeners map[string]Listener) (p *Pipeline, log *bytes.Buffer, stop func(), giveUp func()) {
	t.Helper()
	p, log = newBare(t)
	var err error
	p.Devices, err = device.New(1000)
	require.NoError(t, err)
	p.Listeners = listeners
	work, giveUp := context.WithCancel(t.Context())
	t.Cleanup(giveUp)
	var once sync.Once
	stopListeners := p.listen(work)
	stop = func() { once.Do(stopListeners) }
	t.Cleanup(stop)
	return p, log, stop, giveUp
}

func positionsOf(n int, first time.Time) []position.Position {
	rows := make([]position.Position, n)
	for i := range rows {
		rows[i] = position.Position{DeviceID: fmt.Sprintf("d%d", i%3), Timestamp: first.Add(time.Duration(i) * time.Second),
			Latitude: float64(i), Attributes: []byte(fmt.Sprintf(`{"n":%d}`, i))}
	}
	return rows
}

// tellAll hands over the positions as a worker does.
func (p *Pipeline) tellAll(rows []position.Position, fresh bool) {
	flags := make([]bool, len(rows))
	for i := range flags {
		flags[i] = fresh
	}
	p.tell(rows, flags, p.Devices.ObserveEach(time.Now(), rows))
}

// Every row comes once, in order, with the fix before it and memory that nobody writes to afterwards.
func TestListener_IsToldOfEveryRow(t *testing.T) {
	var got []Row
	p, log, stop, _ := listening(t, map[string]Listener{"all": listenerFunc(func(_ context.Context, rows []Row) { got = append(got, rows...) })})
	noon := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	sent := positionsOf(9, noon)
	p.tellAll(sent[:4], true)
	p.tellAll(sent[4:], false)
	for i := range sent {
		copy(sent[i].Attributes, "XXXXXXX") // the batch's memory is used again
	}
	stop()
	want := positionsOf(9, noon)
	require.Len(t, got, 9)
	for i, row := range got {
		require.Equal(t, want[i], row.Position)
		require.Equal(t, i < 4, row.Fresh)
		if i < 3 {
			require.Nil(t, row.Previous, "the first one of its device")
			continue
		}
		require.Equal(t, &device.Fix{Timestamp: want[i-3].Timestamp, Latitude: want[i-3].Latitude}, row.Previous)
	}
	require.Zero(t, testutil.ToFloat64(p.Metrics.ListenerDropped.WithLabelValues("all")))
	require.Empty(t, messages(t, log))
}

// A slow listener misses rows, which are counted and reported once; nobody waits for it, another one misses
// nothing, and memory stays within the bounds.
func TestListener_ThatIsSlowMissesRows(t *testing.T) {
	began, goOn := make(chan struct{}, 100), make(chan struct{})
	var mu sync.Mutex
	var slow, quick int
	p, log, stop, _ := listening(t, map[string]Listener{
		"slow": listenerFunc(func(_ context.Context, rows []Row) {
			began <- struct{}{}
			<-goOn
			mu.Lock()
			defer mu.Unlock()
			slow += len(rows)
		}),
		"quick": listenerFunc(func(_ context.Context, rows []Row) {
			mu.Lock()
			defer mu.Unlock()
			quick += len(rows)
		}),
	})
	count := func(n *int) int {
		mu.Lock()
		defer mu.Unlock()
		return *n
	}
	const batch, batches = 5000, 12
	rows := positionsOf(batch, time.Now())
	for i := range rows {
		rows[i].Attributes = []byte("{}")
	}
	p.tellAll(rows, true)
	<-began // the first batch has left the queue
	for i := range batches - 1 {
		p.tellAll(rows, true)
		require.Eventually(t, func() bool { return count(&quick) == (i+2)*batch }, time.Minute, time.Millisecond)
	}
	missed := testutil.ToFloat64(p.Metrics.ListenerDropped.WithLabelValues("slow"))
	require.Equal(t, float64((batches-1)*batch-maxQueuedRows), missed)
	require.True(t, p.Health.Readiness().Ready, "it is no reason to take the worker out of service")
	close(goOn)
	stop()
	require.Equal(t, batches*batch-int(missed), slow)
	require.Zero(t, testutil.ToFloat64(p.Metrics.ListenerDropped.WithLabelValues("quick")))
	require.Equal(t, []string{"warn listener falls behind; rows are dropped for it", "info listener has caught up"}, messages(t, log))
}

// The bytes of attributes are bounded too; a batch always fits into an empty queue.
func TestListener_QueueIsBoundedInBytes(t *testing.T) {
	began, goOn := make(chan struct{}, 100), make(chan struct{})
	got := 0
	p, _, stop, _ := listening(t, map[string]Listener{"slow": listenerFunc(func(_ context.Context, rows []Row) {
		began <- struct{}{}
		<-goOn
		got += len(rows)
	})})
	rows := positionsOf(4, time.Now())
	for i := range rows {
		rows[i].Attributes = bytes.Repeat([]byte("x"), p.Options.BatchBytes/2)
	}
	p.tellAll(rows, true) // twice the limit
	<-began
	p.tellAll(rows, true)
	p.tellAll(rows[:1], true)
	require.Equal(t, 1.0, testutil.ToFloat64(p.Metrics.ListenerDropped.WithLabelValues("slow")))
	close(goOn)
	stop()
	require.Equal(t, 8, got)
}

// A panic is counted each time, logged once, and without its text, which may hold coordinates.
func TestListener_ThatPanicsGoesOn(t *testing.T) {
	calls := 0
	p, log, stop, _ := listening(t, map[string]Listener{"bad": listenerFunc(func(_ context.Context, rows []Row) {
		calls++
		switch calls {
		case 1:
			panic(fmt.Sprint("device at ", rows[0].Position.Latitude+48.2082))
		case 2:
			panic(errors.New("device at 48.2082"))
		case 3:
			_ = rows[len(rows)]
		}
	})})
	for range 4 {
		p.tellAll(positionsOf(2, time.Now()), true)
	}
	stop()
	require.Equal(t, 4, calls)
	require.Equal(t, 3.0, testutil.ToFloat64(p.Metrics.ListenerPanics.WithLabelValues("bad")))
	require.Equal(t, []string{"error listener panics; its rows are stored all the same"}, messages(t, log))
	require.NotContains(t, log.String(), "48.2082")
	require.Contains(t, log.String(), "listener_test.go", "the stack says where")
	require.True(t, p.Health.Readiness().Ready)
}

// One that hangs, whether it looks at its context or not, does not hold up the stop beyond the end of work.
// What it was not told of is counted.
func TestListener_ThatHangsIsLeftBehind(t *testing.T) {
	for name, heeds := range map[string]bool{"heeds its context": true, "does not": false} {
		t.Run(name, func(t *testing.T) {
			began, goOn := make(chan struct{}), make(chan struct{})
			returned := make(chan struct{})
			p, log, stop, giveUp := listening(t, map[string]Listener{"hangs": listenerFunc(func(ctx context.Context, _ []Row) {
				close(began)
				if heeds {
					<-ctx.Done()
				} else {
					<-goOn
				}
				close(returned)
			})})
			p.tellAll(positionsOf(3, time.Now()), true)
			<-began
			p.tellAll(positionsOf(2, time.Now()), true)
			giveUp()
			stop()
			if heeds {
				<-returned
				require.Empty(t, messages(t, log))
				require.Equal(t, 2.0, testutil.ToFloat64(p.Metrics.ListenerDropped.WithLabelValues("hangs")))
			} else {
				require.Equal(t, []string{"warn a listener has not returned; it is left behind"}, messages(t, log))
			}
			close(goOn)
			<-returned
		})
	}
}

// What observing a batch costs with and without a listener.
func BenchmarkWorker_Observe(b *testing.B) {
	for _, n := range []int{0, 1} {
		b.Run(fmt.Sprintf("listeners=%d", n), func(b *testing.B) {
			listeners := map[string]Listener{}
			for i := range n {
				listeners[fmt.Sprint(i)] = listenerFunc(func(context.Context, []Row) {})
			}
			p, _, _, _ := listening(b, listeners)
			rows := positionsOf(1000, time.Now())
			items := make([]item, len(rows))
			w := worker{pipeline: p, positions: rows}
			if n > 0 {
				w.fresh = make([]bool, len(rows))
			}
			for i := range items {
				items[i] = item{entry: &entries(1)[0], outcome: stored}
				w.rows = append(w.rows, row{&items[i], nil})
			}
			b.ReportAllocs()
			for b.Loop() {
				w.observe(b.Context())
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(rows)), "ns/row")
			require.Len(b, w.positions, len(rows))
		})
	}
}
