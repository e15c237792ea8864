// Command processor stores every GPS position on a Redis Stream as exactly one row in TimescaleDB.
package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"

	"processor/internal/cli"
	"processor/internal/observe"
	"processor/internal/signals"
)

// Set by the linker: -X main.version=… -X main.revision=….
var version, revision string

func main() {
	ctx := signals.Context(context.Background())
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
