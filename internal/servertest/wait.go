package servertest

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// deadline is the maximum time that a test waits for an event. Only a very busy machine comes near.
	deadline = time.Minute
	poll     = 5 * time.Millisecond
)

// Until polls until holds reports true. It fails the test, naming what, if that takes longer than a minute.
func Until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	end := time.Now().Add(deadline)
	for !holds() {
		if time.Now().After(end) {
			require.FailNow(t, "not within "+deadline.String()+": "+what)
		}
		<-tick.C
	}
}

// Within returns the next event of a channel. It fails the test if none comes within a minute.
func Within[T any](t testing.TB, events <-chan T) T {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-time.After(deadline):
		require.FailNow(t, "no event within "+deadline.String())
		panic("unreachable")
	}
}

// Log collects what a logger or a process writes. It is safe for concurrent use.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String returns the text so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
