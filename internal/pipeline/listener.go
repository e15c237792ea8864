package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"processor/internal/device"
	"processor/internal/observe"
	"processor/internal/position"
	"processor/internal/retry"
)

// Listener is told of rows, for domain logic.
type Listener interface {
	// Committed is called with rows of one batch, in the order of the stream, by one goroutine. They are handed
	// over after their commit and before XACK, and no batch waits for the call: a listener that falls
	// behind misses rows, which are counted (processor_listener_dropped_total). A row may come more than
	// once, with Fresh false, where the process ended before XACK; its key is (device_id, ts). Rows handed over
	// and not yet handled when the process is killed do not come again: what must not miss any reads the
	// table from where it was. ctx ends with the shutdown timeout. The rows own their memory and are shared
	// by all listeners, which must not change them.
	Committed(ctx context.Context, rows []Row)
}

// Row is a position that is in the table.
type Row struct {
	Position position.Position
	// Previous is the newest fix of the device that this process had seen before, whatever its time; nil
	// where there was none.
	Previous *device.Fix
	// Fresh: the row was certainly not there before. Otherwise it was there, or may have been.
	Fresh bool
}

// Bounds of what waits for one listener, beyond what it is being told of. One batch always fits. The bytes of
// attributes are bounded by Options.BatchBytes.
const (
	maxQueuedBatches = 1024
	maxQueuedRows    = 20_000
)

// subscriber is a listener with its queue.
type subscriber struct {
	listener      Listener
	drops, panics prometheus.Counter
	logger        *slog.Logger
	lagging       *observe.Incident

	queue    chan []Row
	room     room
	panicked bool // it is logged
}

// room counts what is in a queue.
type room struct {
	maxBytes int

	mu          sync.Mutex
	rows, bytes int
}

func (p *Pipeline) newSubscriber(name string, l Listener) *subscriber {
	logger := p.Logger.With("listener", name)
	return &subscriber{
		listener: l,
		drops:    p.Metrics.ListenerDropped.WithLabelValues(name),
		panics:   p.Metrics.ListenerPanics.WithLabelValues(name),
		logger:   logger,
		lagging: p.Health.NewIncident(logger, observe.IncidentOptions{Name: observe.Listening, Harmless: true,
			Began: "listener falls behind; rows are dropped for it", Ended: "listener has caught up"}),
		queue: make(chan []Row, maxQueuedBatches),
		room:  room{maxBytes: p.Options.BatchBytes},
	}
}

// tell hands committed rows to every listener that has room for them. fresh is parallel to positions.
func (p *Pipeline) tell(positions []position.Position, fresh []bool, previous []*device.Fix) {
	bytes := 0
	for i := range positions {
		bytes += len(positions[i].Attributes)
	}
	var rows []Row // copied once, and only where somebody takes them
	for _, s := range p.subscribers {
		if !s.room.take(len(positions), bytes) {
			s.dropped(len(positions))
			continue
		}
		if rows == nil {
			rows = committed(positions, fresh, previous, bytes)
		}
		select {
		case s.queue <- rows:
		default:
			s.room.give(rows)
			s.dropped(len(rows))
		}
	}
}

// committed copies rows with all of their memory.
func committed(positions []position.Position, fresh []bool, previous []*device.Fix, bytes int) []Row {
	rows, memory := make([]Row, len(positions)), make([]byte, 0, bytes)
	for i := range positions {
		rows[i] = Row{Position: positions[i], Previous: previous[i], Fresh: fresh[i]}
		start := len(memory)
		memory = append(memory, positions[i].Attributes...)
		rows[i].Position.Attributes = memory[start:len(memory):len(memory)]
	}
	return rows
}

// take makes room for rows, and reports whether there was some.
func (r *room) take(rows, bytes int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rows > 0 && (r.rows+rows > maxQueuedRows || r.bytes+bytes > r.maxBytes) {
		return false
	}
	r.rows, r.bytes = r.rows+rows, r.bytes+bytes
	return true
}

// give gives the room of rows back, and reports whether all of it is free.
func (r *room) give(rows []Row) (empty bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows -= len(rows)
	for i := range rows {
		r.bytes -= len(rows[i].Position.Attributes)
	}
	return r.rows == 0
}

func (s *subscriber) dropped(rows int) {
	s.drops.Add(float64(rows))
	s.lagging.Fail(errBehind)
}

var errBehind = fmt.Errorf("more than %d rows, %d batches or BATCH_BYTES of attributes wait for it", maxQueuedRows, maxQueuedBatches)

// run tells the listener of what is queued, until the queue is closed. Once work is over it drops the rest.
func (s *subscriber) run(work context.Context) {
	for rows := range s.queue {
		// What it is being told of has no room any more: a batch always fits beside it.
		empty := s.room.give(rows)
		switch {
		case work.Err() != nil:
			s.drops.Add(float64(len(rows)))
		case empty:
			s.lagging.Recover()
			s.call(work, rows)
		default:
			s.call(work, rows)
		}
	}
}

// call survives a panic of the listener.
func (s *subscriber) call(work context.Context, rows []Row) {
	defer func() {
		value := recover()
		if value == nil {
			return
		}
		s.panics.Inc()
		s.logger.Debug("listener panics", "panic", fmt.Sprint(value))
		if !s.panicked {
			s.panicked = true
			s.logger.Error("listener panics; its rows are stored all the same", "panic", kindOf(value), "stack", string(debug.Stack()))
		}
	}()
	s.listener.Committed(work, rows)
}

// kindOf describes a panic without its text, which may hold coordinates.
func kindOf(value any) string {
	if err, is := value.(runtime.Error); is {
		return err.Error()
	}
	return fmt.Sprintf("%T", value)
}

// listen starts the listeners. stop lets them handle what is queued, and returns when they have or work is
// over, whichever comes first: a listener that hangs is left behind.
func (p *Pipeline) listen(work context.Context) (stop func()) {
	var running sync.WaitGroup
	for name, l := range p.Listeners {
		s := p.newSubscriber(name, l)
		p.subscribers = append(p.subscribers, s)
		running.Go(func() { s.run(work) })
	}
	return func() {
		for _, s := range p.subscribers {
			close(s.queue)
		}
		ended := make(chan struct{})
		go func() {
			running.Wait()
			close(ended)
		}()
		select {
		case <-ended:
		case <-work.Done():
			_ = retry.SleepUntil(context.WithoutCancel(work), listenerGrace, ended)
		}
		select {
		case <-ended:
		default:
			p.Logger.Warn("a listener has not returned; it is left behind")
		}
	}
}

// listenerGrace is what a listener has to return in once its context has ended.
const listenerGrace = 250 * time.Millisecond
