package observe

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

func raised() *pgconn.PgError {
	return &pgconn.PgError{
		Severity: "ERROR", Code: "P0001", Message: "device 7 is at 41.4349 2.2190", Detail: "Failing row contains (41.4349).",
		Hint: "go to 2.2190", Where: "PL/pgSQL function f(41.4349)", ConstraintName: "c", TableName: "positions", ColumnName: "speed",
	}
}

func TestPublic_LeavesTheSQLSTATEOfDatabaseErrors(t *testing.T) {
	const details = ", constraint c, table positions, column speed"
	for name, tt := range map[string]struct {
		err              error
		public, loggable string
	}{
		"another error": {errors.New("connection refused"), "connection refused", "connection refused"},
		"a password":    {errors.New("dial redis://:s3cret@h"), "dial redis://:xxxxx@h", "dial redis://:xxxxx@h"},
		"by itself":     {raised(), "SQLSTATE P0001", "SQLSTATE P0001" + details},
		"wrapped": {fmt.Errorf("unexpected: write: %w. Fix: undo it", raised()),
			"unexpected: write: SQLSTATE P0001. Fix: undo it", "unexpected: write: SQLSTATE P0001" + details + ". Fix: undo it"},
		"joined": {errors.Join(errors.New("host a"), fmt.Errorf("host b: %w", raised())),
			"host a\nhost b: SQLSTATE P0001", "host a\nhost b: SQLSTATE P0001" + details},
		"two": {fmt.Errorf("%w, then %w", raised(), &pgconn.PgError{Severity: "FATAL", Code: "28P01", Message: "no such role"}),
			"SQLSTATE P0001, then SQLSTATE 28P01", "SQLSTATE P0001" + details + ", then SQLSTATE 28P01"},
		"spelled otherwise": {fmt.Errorf("%w: %s", raised(), raised().Message), "SQLSTATE P0001", "SQLSTATE P0001" + details},
		"with its detail":   {fmt.Errorf("%w: %s", raised(), raised().Detail), "SQLSTATE P0001", "SQLSTATE P0001" + details},
		"without a message": {fmt.Errorf("write: %w", &pgconn.PgError{Code: "57014"}), "write: SQLSTATE 57014", "write: SQLSTATE 57014"},
	} {
		require.Equal(t, tt.public, Public(tt.err), name)
		require.Equal(t, tt.loggable, Loggable(tt.err), name)
	}
	require.Len(t, Public(errors.New(strings.Repeat("é", 10_000))), maxPublic+len("…"))
}

func TestNewLogger_KeepsMessagesOfTheDatabaseForDebug(t *testing.T) {
	line := func(level slog.Level) string {
		var out bytes.Buffer
		NewLogger(&out, level).Error("failed", "error", fmt.Errorf("write: %w", raised()), slog.Group("g", "cause", error(raised())),
			"dial", errors.New("redis://:s3cret@h"))
		return out.String()
	}
	for _, level := range []slog.Level{slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		text := line(level)
		require.Contains(t, text, `"error":"write: SQLSTATE P0001, constraint c, table positions, column speed","g":{"cause":"SQLSTATE P0001, `)
		require.NotContains(t, text, "41.4349")
		require.Contains(t, text, `"dial":"redis://:xxxxx@h"`)
	}
	require.Contains(t, line(slog.LevelDebug), `"error":"write: ERROR: device 7 is at 41.4349 2.2190 (SQLSTATE P0001)","g":{"cause":"ERROR: device 7`)
	require.NotContains(t, line(slog.LevelDebug), "s3cret")
}
