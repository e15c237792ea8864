package observe

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNewLogger_Line(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 80_900_000, time.FixedZone("CET", 3600))
	for level, text := range map[slog.Level]string{
		slog.LevelDebug: "debug", slog.LevelInfo: "info", slog.LevelWarn: "warn", slog.LevelError: "error",
	} {
		var out bytes.Buffer
		record := slog.NewRecord(at, level, "batch written", 0)
		record.AddAttrs(slog.Int("rows", 3), slog.Group("inner", slog.String("level", "Deep")))
		require.NoError(t, NewLogger(&out, slog.LevelDebug).Handler().Handle(t.Context(), record))
		require.Equal(t, `{"time":"2026-03-04T04:06:07.080Z","level":"`+text+
			`","msg":"batch written","rows":3,"inner":{"level":"Deep"}}`+"\n", out.String())
	}
}

func TestNewLogger_LevelIsALowerBound(t *testing.T) {
	var out bytes.Buffer
	logger := NewLogger(&out, slog.LevelWarn)
	logger.Info("not shown")
	require.Empty(t, out.String())
	logger.Warn("shown")
	require.Contains(t, out.String(), `"msg":"shown"`)
}
