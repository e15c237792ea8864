// Command processor makes every GPS position on a Redis Stream exactly one row in TimescaleDB.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"processor/internal/cli"
	"processor/internal/observe"
)

// Set by the linker: -X main.version=… -X main.revision=….
var version, revision string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	// After the first signal the default action is back: a second one ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Main(ctx, os.Args[1:], buildInfo(), cli.Streams{Out: os.Stdout, Err: os.Stderr}))
}

func buildInfo() observe.BuildInfo {
	build := observe.BuildInfo{Version: version, Commit: revision, GoVersion: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return build
	}
	if build.Version == "" {
		build.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && build.Commit == "" {
			build.Commit = s.Value
		}
	}
	return build
}
