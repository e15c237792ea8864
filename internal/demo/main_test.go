package demo_test

import (
	"context"
	"os"
	"os/signal"
	"syscall"
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
	handleIgnored(syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT)
	goleak.VerifyTestMain(m)
}

// handleIgnored handles those of the signals that this process ignores, as below nohup or in the background of a script: the
// shells of the tests would ignore them too, and of a signal that is handled a child has the default.
func handleIgnored(all ...os.Signal) {
	for _, s := range all {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
		}
	}
}
