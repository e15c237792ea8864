package demo_test

import (
	"context"
	"os"
	"testing"

	"go.uber.org/goleak"

	"processor/internal/cli"
	"processor/internal/observe"
	"processor/internal/signals"
)

// TestMain makes the test binary a processor as well: demos of these tests are its children, and it is their worker.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "run" || os.Args[1] == "demo") {
		ctx := signals.Context(context.Background())
		os.Exit(cli.Main(ctx, os.Args[1:], observe.BuildInfo{}, cli.Streams{Out: os.Stdout, Err: os.Stderr}))
	}
	signals.Release()
	goleak.VerifyTestMain(m)
}
