package service

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/observe"
	"processor/internal/schema"
)

// Somebody drops the extension under the worker: the log says what positions has become, once.
func TestSchemaProbe_LogsWhatTheTableBecomes(t *testing.T) {
	var log bytes.Buffer
	p := schemaProbe{logger: observe.NewLogger(&log, slog.LevelInfo)}
	for range 3 {
		p.log(&schema.State{Hypertable: true})
	}
	for range 3 {
		p.log(&schema.State{})
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	require.Len(t, lines, 2)
	require.Contains(t, lines[0], "positions is a hypertable")
	require.Contains(t, lines[1], "positions is a plain table, not a hypertable")
}

// A plain table that nobody has asked for takes rows and is named.
func TestPlainTable_IsNamedUnlessItIsMeant(t *testing.T) {
	require.NoError(t, plainTable(&schema.State{Hypertable: true}))
	require.NoError(t, plainTable(&schema.State{Session: schema.Session{AllowsPlainTable: true}}))
	require.ErrorContains(t, plainTable(&schema.State{}), "Fix: enable the extension timescaledb")
}
