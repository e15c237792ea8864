package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
)

// keepLines is the number of the worker's log lines that are kept for a demo that fails.
const keepLines = 50

// workerLog buffers the worker's log, which would break the view on a terminal. Each call of Write must
// carry one JSON line. It is safe for concurrent use.
type workerLog struct {
	mu      sync.Mutex
	lines   [][]byte
	warning warning
}

// warning is a log line of level warn or error.
type warning struct {
	at   time.Time // zero: no warning
	text string
}

// Write implements [io.Writer]. It never fails.
func (l *workerLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) == keepLines {
		l.lines = append(l.lines[:0], l.lines[1:]...)
	}
	l.lines = append(l.lines, append([]byte(nil), line...))

	var entry struct{ Level, Msg, Error string }
	if err := json.Unmarshal(line, &entry); err != nil {
		return len(line), nil // kept, but without a level
	}
	if entry.Level != "warn" && entry.Level != "error" {
		return len(line), nil
	}
	text := entry.Level + ": " + entry.Msg
	if entry.Error != "" {
		text += ": " + entry.Error
	}
	l.warning = warning{at: time.Now(), text: text}
	return len(line), nil
}

func (l *workerLog) lastWarning() warning {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.warning
}

// print writes the kept lines to w.
func (l *workerLog) print(w io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(w, "the worker's last log lines:")
	for _, line := range l.lines {
		_, _ = w.Write(line) // a failed write could only be reported to the same writer
	}
}
