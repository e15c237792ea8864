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

func TestWorkerLog_KeepsTheLastLinesAndWarning(t *testing.T) {
	log := &workerLog{}
	logger := observe.NewLogger(log, slog.LevelInfo)
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
