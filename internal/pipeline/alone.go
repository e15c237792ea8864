package pipeline

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"processor/internal/position"
	"processor/internal/retry"
	"processor/internal/stream"
)

// An entry that was delivered too often is handled by itself, under a mark in Redis. A process that ends
// in that moment leaves the mark, and nothing else does: not a restart, an outage, a redelivery or a claim.
// After maxMarks such processes in a row the entry is quarantined: dead-lettered without being decoded.
const (
	maxMarks = 3
	// markedFor is how long an entry stays marked while its row is written. What ends the process does so
	// while the entry is decoded or encoded, which is a matter of milliseconds; what takes longer is the
	// server, and a process that is killed then is no evidence.
	markedFor = 100 * time.Millisecond
	// firstSingle is when a process handles the first such entry, at least; the rest of up to as much again
	// is random. An operator who kills workers as they start must not find the same entry marked each time.
	firstSingle = time.Second
	// singleTimeout is how long the next one waits for one. One that takes longer is held by the server.
	singleTimeout = 2 * time.Second
	// maxSingles is how many may be held at once.
	maxSingles = 3
)

// singles handles entries by themselves.
type singles struct {
	lane    *lane
	begin   time.Time
	workers chan *worker // those that are free
	running sync.WaitGroup
}

func newSingles(l *lane) *singles {
	s := &singles{lane: l, begin: time.Now().Add(firstSingle + rand.N(firstSingle)), workers: make(chan *worker, maxSingles)}
	for range maxSingles {
		s.workers <- l.pipeline.newWorker()
	}
	return s
}

// attempt handles one entry, and returns when it is through, or takes long. It reports false where it was
// put back.
func (s *singles) attempt(work context.Context, it item) (progress bool) {
	l := s.lane
	l.writes.pause(work, time.Until(s.begin))
	if !l.databaseAnswers(work) {
		l.writes.back(it)
		return false
	}
	var w *worker
	select {
	case w = <-s.workers:
	default:
		l.writes.back(it)
		return false
	}
	done := make(chan bool, 1)
	s.running.Go(func() {
		ok := l.handleAlone(work, w, it)
		s.workers <- w
		done <- ok
	})
	timer := time.NewTimer(singleTimeout)
	defer timer.Stop()
	select {
	case ok := <-done:
		return ok
	case <-timer.C:
		return true
	}
}

// databaseAnswers keeps entries from being marked during an outage.
func (l *lane) databaseAnswers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, singleTimeout)
	defer cancel()
	return l.pipeline.Store.Ping(ctx) == nil
}

// handleAlone takes one entry through the life of a batch. It reports false where it was put back.
func (l *lane) handleAlone(work context.Context, w *worker, it item) bool {
	m := &mark{lane: l, id: it.entry.ID}
	marks, err := m.set(work)
	defer m.unlock()
	if err != nil {
		// Without a mark nobody would ever know that this entry ends the process. It stays pending.
		l.writes.back(it)
		l.writes.postpone()
		return false
	}
	b := &batch{lane: l, kind: single, items: []item{it}, mark: m}
	if marks > maxMarks {
		b.kind = quarantined
		b.items[0].reject(position.DeliveredTooOften, fmt.Sprintf(
			"%d processes in a row ended while they handled this entry by itself; it is not decoded any more", marks-1), "")
	} else {
		l.pipeline.step(Read)
	}
	if err := w.process(work, b); err != nil {
		l.logger.Warn("entry given up; it stays pending", "entry", it.entry.ID.String(), "error", err)
	}
	if b.kind == single || b.items[0].outcome == finished {
		m.clear(work)
	}
	l.move(b.items[0], l.writes)
	w.forget()
	return true
}

// mark is the note in Redis that this process handles an entry by itself.
type mark struct {
	lane *lane
	id   stream.ID

	mu     sync.Mutex
	marked bool
	locked bool // Pipeline.alone
	timer  *time.Timer
}

// set marks the entry, and returns the marks that it has, this one included.
func (m *mark) set(work context.Context) (int, error) {
	m.lane.pipeline.alone.Lock()
	m.locked = true
	marks, err := m.lane.consumer.Mark(work, m.id)
	if err != nil {
		m.lane.incidents.poison.Fail(err, "entry", m.id.String())
		return 0, err
	}
	m.lane.incidents.poison.Recover()
	m.marked = true
	return marks, nil
}

// writing bounds how long the mark stays from now on.
func (m *mark) writing(work context.Context) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.timer = time.AfterFunc(markedFor, func() { m.unset(work) })
}

// unset takes the mark back, once. It reports false where Redis did not.
func (m *mark) unset(work context.Context) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.marked {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(work), singleTimeout)
		defer cancel()
		m.marked = m.lane.consumer.Unmark(ctx, m.id) != nil
	}
	if m.locked {
		m.locked = false
		m.lane.pipeline.alone.Unlock()
	}
	return !m.marked
}

// unlock lets others be marked, whatever became of this one, and waits for the timer.
func (m *mark) unlock() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.timer != nil {
		m.timer.Stop()
	}
	m.marked = false // where the timer is about to run, it finds nothing to do
	if m.locked {
		m.locked = false
		m.lane.pipeline.alone.Unlock()
	}
}

// clear takes the mark back until that works or work is over.
func (m *mark) clear(work context.Context) {
	pause := retry.NewBackOff()
	for !m.unset(work) && retry.Sleep(work, pause.NextBackOff()) == nil {
	}
}
