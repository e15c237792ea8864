package demo

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/observe"
)

// logTo returns a logger whose lines are added as those of a worker.
func logTo(log *workerLog) *slog.Logger {
	return observe.NewLogger(lineWriter{log}, slog.LevelInfo)
}

type lineWriter struct{ log *workerLog }

func (w lineWriter) Write(line []byte) (int, error) {
	w.log.add(bytes.TrimRight(line, "\n"))
	return len(line), nil
}

func TestWorkerLog_KeepsTheLastLinesAndWarning(t *testing.T) {
	log := &workerLog{}
	logger := logTo(log)
	logger.Info("first")
	require.Zero(t, log.lastWarning())

	logger.Warn("stream cannot be read", "error", errors.New("refused"))
	logger.Info("as usual")
	require.Equal(t, "warn: stream cannot be read: refused", log.lastWarning().text)
	logger.Error("lost")
	require.Equal(t, "error: lost", log.lastWarning().text)

	for range keepLines - 1 {
		logger.Info("again")
	}
	var out bytes.Buffer
	log.print(&out)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 1+keepLines)
	require.Equal(t, "the worker's last log lines:", lines[0])
	require.Contains(t, lines[1], `"msg":"lost"`)
	require.Contains(t, lines[keepLines], `"msg":"again"`)
}

func TestWorkerLog_KeepsTheLastLedger(t *testing.T) {
	log := &workerLog{}
	logger := logTo(log)
	logger.Info("started")
	log.add([]byte("panic: not JSON"))
	require.Nil(t, log.lastLedger())
	for n := range uint64(2) {
		want := observe.LedgerSnapshot{Read: 15 + n, Inserted: 1, Merged: 2, Unchanged: 3, DeadLettered: 4, InFlight: 5}
		logger.Info("stopped", "ledger", want)
		require.Equal(t, &want, log.lastLedger())
	}
	log.publisherWarns("cannot publish; retrying", errors.New("refused"))
	require.Equal(t, "warn: cannot publish; retrying: refused", log.lastWarning().text)
}
