package bench_test

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"processor/internal/cli"
	"processor/internal/observe"
	"processor/internal/servertest"
)

// TestMain makes the test binary a processor as well: the benchmark starts it as its worker.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "run" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		code := cli.Main(ctx, os.Args[1:], observe.BuildInfo{}, cli.Streams{Out: os.Stdout, Err: os.Stderr})
		stop()
		os.Exit(code)
	}
	servertest.Main(m)
}
