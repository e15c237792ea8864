package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"processor/internal/console"
	"processor/internal/demo"
)

type demoCmd struct {
	Devices int           `env:"DEMO_DEVICES" default:"500" range:"1..1000000" placeholder:"N" help:"Simulated trackers (default: ${default})."`
	Rate    int           `env:"DEMO_RATE" default:"1000" range:"1..1000000" placeholder:"N" help:"Positions a second over all devices (default: ${default})."`
	For     time.Duration `env:"DEMO_FOR" default:"0s" range:"0s..1000h" placeholder:"DURATION" help:"How long to publish; 0 goes on until Ctrl-C (default: ${default})."`
	Seed    int           `env:"DEMO_SEED" default:"1" range:"0..1000000000" placeholder:"N" help:"Another seed is another fleet on other roads (default: ${default})."`
}

// Help is called by kong.
func (c *demoCmd) Help() string {
	return `On temporary servers, simulated trackers publish and the real worker stores. Then faults are played, one after the other, or on a terminal by key: d publishes 1,000 duplicates, b 12 entries that cannot be stored, k kills the worker, p stops PostgreSQL for 5 s. A demo with --for tells the story faster, and leaves out what does not fit. At the end rows and dead letters are compared with what was published; exit code 1 if they differ. A second Ctrl-C ends at once, without the comparison.

The worker takes its settings from the environment variables of processor run; servers, stream and addresses are the demo's.

Examples:
  processor demo
  processor demo --for 20s --rate 5000 --devices 2000
  BATCH_SIZE=100 processor demo --for 20s`
}

// Run is called by kong.
func (c *demoCmd) Run(ctx context.Context, out Streams) error {
	executable, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program, which the demo runs as its worker: %w", err)
	}
	// A closed window ends a demo in order too: its servers have files.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer stop()
	// A broken pipe is an error of the write, which the demo handles. The signal would end the process.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	defer signal.Stop(broken)
	abort, stopAbort := secondSignal(ctx)
	defer stopAbort()
	return demo.Run(ctx, abort, demo.Options{
		Devices:    c.Devices,
		Rate:       c.Rate,
		For:        c.For,
		Seed:       uint64(c.Seed),
		Executable: executable,
		Command:    commandLine(executable),
		In:         os.Stdin,
		Out:        out.Out,
		Console:    demoConsole,
	})
}

// demoConsole makes a console on a free port that shows everything: the positions are simulated.
func demoConsole(redisURL, databaseURL string) (url string, serve func(context.Context) error, err error) {
	server, err := console.New(console.Config{
		Addr: "127.0.0.1:0", RedisURL: redisURL, DatabaseURL: databaseURL,
		Streams: []string{demo.StreamName}, Group: demo.GroupName, ShowPositions: true,
	})
	if err != nil {
		return "", nil, err
	}
	return server.URL(), server.Run, nil
}

// secondSignal returns a context that ends at the first signal after the end of ctx. The caller calls stop.
func secondSignal(ctx context.Context) (abort context.Context, stop func()) {
	abort, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	go func() {
		select {
		case <-ctx.Done():
		case <-abort.Done():
			return
		}
		again := make(chan os.Signal, 1)
		signal.Notify(again, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
		defer signal.Stop(again)
		select {
		case s := <-again:
			cancel(fmt.Errorf("second signal: %s", s))
		case <-abort.Done():
		}
	}()
	return abort, func() { cancel(nil) }
}

// commandLine is how a person starts this program in a shell.
func commandLine(executable string) string {
	if strings.Contains(executable, string(filepath.Separator)+"go-build") {
		return "go run ."
	}
	return os.Args[0]
}
