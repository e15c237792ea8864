// Package signals catches SIGINT and SIGTERM from before the packages that main needs are initialised, which
// takes up to 100 ms on a busy machine. It must import nothing that imports reflect: of packages that are
// ready, Go initialises first the one whose path sorts first, and reflect comes after processor.
package signals

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// caught is package state, since only that begins before main.
var caught = catch()

func catch() <-chan os.Signal {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	return signals
}

// Context returns a copy of parent that ends at the first signal, even one from before the call. Then the
// default action is back: a second signal ends the process at once.
func Context(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	go func() {
		received := <-caught
		Release()
		cancel(signalError{received})
	}()
	return ctx
}

// Release restores the default action of the signals.
func Release() { signal.Reset(syscall.SIGINT, syscall.SIGTERM) }

type signalError struct{ os.Signal }

// Error implements error.
func (e signalError) Error() string { return e.String() + " signal received" }
