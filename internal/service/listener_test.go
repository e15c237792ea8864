package service

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/pipeline"
	"processor/internal/servertest"
)

// told collects what a listener is told.
type told struct {
	mu   sync.Mutex
	rows []pipeline.Row
}

func (l *told) Committed(_ context.Context, rows []pipeline.Row) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows = append(l.rows, rows...)
}

// counts returns how often each key came as certainly new, and how often otherwise.
func (l *told) counts() (fresh, again map[string]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fresh, again = map[string]int{}, map[string]int{}
	for _, row := range l.rows {
		key := row.Position.DeviceID + row.Position.Timestamp.String()
		if row.Fresh {
			fresh[key]++
		} else {
			again[key]++
		}
	}
	return fresh, again
}

// panics is a listener beside it.
type panics struct{}

func (panics) Committed(context.Context, []pipeline.Row) { panic("always") }

// Each committed row is told once as new, and again where its entry is delivered again; entries that were
// delivered before count as delivered again. What another listener does changes nothing.
func TestService_TellsListenersOfCommittedRows(t *testing.T) {
	r := newRig(t)
	r.publish(1300, 50)
	require.NoError(t, r.client.XGroupCreate(t.Context(), r.stream, r.config.Group, "0").Err())
	require.NoError(t, r.client.XReadGroup(t.Context(), &redis.XReadGroupArgs{ // by a process that was killed
		Group: r.config.Group, Consumer: r.config.Consumer, Streams: []string{r.stream, ">"}, Count: 100}).Err())
	r.add("hello")

	listener := &told{}
	s, stop := r.startWith(map[string]pipeline.Listener{"told": listener, "panics": panics{}})
	servertest.Until(r.t, "all decided", func() bool { l := s.Ledger.Snapshot(); return l.Inserted == 1300 && l.DeadLettered == 1 })
	servertest.Until(r.t, "all told", func() bool { fresh, again := listener.counts(); return len(fresh)+len(again) == 1300 })
	fresh, again := listener.counts()
	require.Len(t, fresh, 1200)
	require.Len(t, again, 100)

	require.NoError(t, r.client.XGroupSetID(t.Context(), r.stream, r.config.Group, "0").Err())
	servertest.Until(r.t, "all are there already", func() bool { return s.Ledger.Snapshot().Unchanged >= 1300 })
	servertest.Until(r.t, "all told again", func() bool { _, again := listener.counts(); return len(again) == 1300 })
	stop()
	fresh, _ = listener.counts()
	require.Len(t, fresh, 1200)
	for key, times := range fresh {
		require.Equal(t, 1, times, key)
	}
	require.Equal(t, "1300", r.rows())
	require.Zero(t, r.pending())
	require.Contains(t, r.log.String(), "listener panics")
}

// A listener that hangs costs the stop no more than the shutdown timeout, and what is committed is acknowledged.
func TestService_StopsBesideAListenerThatHangs(t *testing.T) {
	r := newRig(t)
	r.config.ShutdownTimeout = 100 * time.Millisecond
	r.publish(100, 10)
	goOn, returned := make(chan struct{}), make(chan struct{})
	s, stop := r.startWith(map[string]pipeline.Listener{"hangs": hangs{goOn, returned}})
	servertest.Until(r.t, "all committed", func() bool { return s.Ledger.Snapshot().Inserted == 100 })
	servertest.Until(r.t, "all acknowledged", func() bool { return r.pending() == 0 })
	stop()
	require.Contains(t, r.log.String(), "a listener has not returned; it is left behind")
	close(goOn)
	<-returned
}

type hangs struct{ goOn, returned chan struct{} }

func (h hangs) Committed(context.Context, []pipeline.Row) {
	<-h.goOn
	select {
	case <-h.returned:
	default:
		close(h.returned)
	}
}
