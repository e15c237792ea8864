package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"processor/internal/observe"
)

// keepLines is the number of the workers' log lines that are kept for a demo that fails.
const keepLines = 50

// workerLog keeps the end of the workers' log, which would break the view on a terminal. It is safe for
// concurrent use.
type workerLog struct {
	mu      sync.Mutex
	lines   [][]byte
	warning warning
	ledger  *observe.LedgerSnapshot
}

// warning is a log line of level warn or error.
type warning struct {
	at   time.Time // zero: no warning
	text string
}

// finalLedger is what a worker that stops in order logs last.
type finalLedger struct{ observe.LedgerSnapshot }

// UnmarshalJSON implements json.Unmarshaler, for the names of LedgerSnapshot.LogValue.
func (f *finalLedger) UnmarshalJSON(text []byte) error {
	var l struct {
		Read, Inserted, Merged, Unchanged uint64
		DeadLettered                      uint64 `json:"dead_lettered"`
		InFlight                          uint64 `json:"in_flight"`
	}
	err := json.Unmarshal(text, &l)
	f.LedgerSnapshot = observe.LedgerSnapshot(l)
	return err
}

// add keeps a line, without its line feed.
func (l *workerLog) add(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) == keepLines {
		l.lines = append(l.lines[:0], l.lines[1:]...)
	}
	l.lines = append(l.lines, append([]byte(nil), line...))

	var entry struct {
		Level, Msg, Error string
		Ledger            *finalLedger
	}
	if err := json.Unmarshal(line, &entry); err != nil {
		return // kept, but without a level
	}
	if entry.Ledger != nil {
		l.ledger = &entry.Ledger.LedgerSnapshot
	}
	if entry.Level == "warn" || entry.Level == "error" {
		l.warn(entry.Level, entry.Msg, entry.Error)
	}
}

// publisherWarns keeps a warning of the demo's publishers.
func (l *workerLog) publisherWarns(text string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.warn("warn", text, err.Error())
}

func (l *workerLog) warn(level, text, err string) {
	text = level + ": " + text
	if err != "" {
		text += ": " + err
	}
	l.warning = warning{at: time.Now(), text: text}
}

func (l *workerLog) lastWarning() warning {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.warning
}

// lastLedger returns the ledger of the last worker that stopped in order; nil if none did.
func (l *workerLog) lastLedger() *observe.LedgerSnapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ledger
}

// print writes the kept lines to w.
func (l *workerLog) print(w io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(w, "the worker's last log lines:")
	for _, line := range l.lines {
		fmt.Fprintf(w, "%s\n", line) // a failed write could only be reported to the same writer
	}
}
