package cli

import (
	"context"
	"io"
	"log/slog"

	"processor/internal/observe"
	"processor/internal/service"
	"processor/internal/stream"
)

type runCmd struct {
	service.Config
}

// Run is called by kong.
func (c *runCmd) Run(ctx context.Context, build observe.BuildInfo, out Streams) error {
	if err := c.Resolve(); err != nil {
		return err
	}
	logger, err := newLogger(out.Err, c.LogLevel)
	if err != nil {
		return err
	}
	stream.LogTo(logger)
	s, err := service.New(ctx, c.Config, build, logger)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

func newLogger(w io.Writer, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, &service.SettingError{Flag: "log-level", Env: "LOG_LEVEL", Err: err}
	}
	return observe.NewLogger(w, l), nil
}
