package cli

import (
	"context"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"processor/internal/observe"
	"processor/internal/service"
	"processor/internal/stream"
)

type runCmd struct {
	service.Config
}

// Help is called by kong.
func (c *runCmd) Help() string {
	return `Examples:
  REDIS_URL=redis://redis:6379/0 DATABASE_URL=postgres://processor@db/telemetry processor
  processor run --redis-url-file /run/secrets/redis --database-url-file /run/secrets/database
  processor run --redis-stream telemetry:t,telemetry:u --writers 8`
}

// Run is called by kong.
func (c *runCmd) Run(ctx context.Context, build observe.BuildInfo, out Streams) error {
	if err := c.Resolve(); err != nil {
		return err
	}
	logger := observe.NewLogger(out.Err, c.LogLevel)
	stream.LogTo(logger)
	limitMemory(memlimit.FromCgroup, logger)
	s, err := service.New(ctx, c.Config, build, logger)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}
