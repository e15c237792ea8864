package cli

import (
	"context"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"processor/internal/demo"
	"processor/internal/observe"
	"processor/internal/service"
)

type demoCmd struct {
	Devices int           `env:"DEMO_DEVICES" default:"500" range:"1..1000000" placeholder:"N" help:"Simulated trackers (default: ${default})."`
	Rate    int           `env:"DEMO_RATE" default:"1000" range:"1..1000000" placeholder:"N" help:"Positions a second over all devices (default: ${default})."`
	For     time.Duration `env:"DEMO_FOR" default:"0s" range:"0s..1000h" placeholder:"DURATION" help:"How long to publish; 0 goes on until Ctrl-C (default: ${default})."`
	Seed    int           `env:"DEMO_SEED" default:"1" range:"0..1000000000" placeholder:"N" help:"Another seed is another fleet on other roads (default: ${default})."`

	worker service.Config
}

// AfterApply is called by kong.
func (c *demoCmd) AfterApply() error {
	return kong.ApplyDefaults(&c.worker, mappers()...)
}

// Help is called by kong.
func (c *demoCmd) Help() string {
	return `The worker takes the settings of its batches from the environment variables of processor run; servers, stream and addresses are the demo's own. Exit code 1 says that the table does not hold what was published.

Examples:
  processor demo
  processor demo --for 20s --rate 5000 --devices 2000
  BATCH_SIZE=100 processor demo --for 20s`
}

// Run is called by kong.
func (c *demoCmd) Run(ctx context.Context, build observe.BuildInfo, out Streams) error {
	// A closed window and a pipe that nobody reads end a demo in order too: its servers have files.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	return demo.Run(ctx, demo.Options{
		Devices: c.Devices,
		Rate:    c.Rate,
		For:     c.For,
		Seed:    uint64(c.Seed),
		Worker:  c.worker,
		Build:   build,
		Out:     out.Out,
	})
}
