package faultkit

import (
	"log/slog"
	"os"
	"testing"

	"processor/internal/servertest"
	"processor/internal/stream"
)

func TestMain(m *testing.M) {
	if os.Getenv(workerVariable) != "" {
		os.Exit(work())
	}
	stream.LogTo(slog.New(slog.DiscardHandler)) // the tests take servers away from their own client too
	servertest.Main(m)
}

// full reports whether the long scenarios run at full length, with the figures of the issue that
// asked for them.
func full() bool { return os.Getenv("FAULTKIT_SCALE") == "full" }
