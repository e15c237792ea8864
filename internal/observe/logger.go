package observe

import (
	"io"
	"log/slog"
	"strings"
	"time"
)

// logTime is ISO 8601 with milliseconds. In UTC the offset is written as Z.
const logTime = "2006-01-02T15:04:05.000Z07:00"

// NewLogger returns a logger that writes one JSON object a line to w, from level upwards. Each line
// opens with `time` (ISO 8601, UTC, milliseconds), `level` (debug, info, warn or error) and `msg`.
// An attribute that is an error is written as Loggable does it, and whole from debug level on, then with
// the database's message: that may hold coordinates. Passwords of URLs are hidden in either.
// The logger writes each line with one call of w.Write, never two at once.
func NewLogger(w io.Writer, level slog.Level) *slog.Logger {
	text := Loggable
	if level <= slog.LevelDebug {
		text = func(err error) string { return Scrub(err.Error()) }
	}
	replace := func(groups []string, a slog.Attr) slog.Attr {
		if err, ok := a.Value.Any().(error); ok {
			a.Value = slog.StringValue(text(err))
			return a
		}
		return logAttr(groups, a)
	}
	return slog.New(slog.NewJSONHandler(JSONLines(w), &slog.HandlerOptions{Level: level, ReplaceAttr: replace}))
}

func logAttr(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	switch v := a.Value.Any().(type) {
	case time.Time:
		if a.Key == slog.TimeKey {
			a.Value = slog.StringValue(v.UTC().Format(logTime))
		}
	case slog.Level:
		if a.Key == slog.LevelKey {
			a.Value = slog.StringValue(strings.ToLower(v.String()))
		}
	}
	return a
}
