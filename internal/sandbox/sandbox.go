// Package sandbox runs disposable Redis and PostgreSQL servers as child processes, for demo, bench and
// the tests.
//
// A server listens on a port of 127.0.0.1, keeps its data in a directory of its own, and is stopped by
// whoever started it. Two things hold without a call to Stop: a terminal's Ctrl-C does not reach the
// servers, so that their owner can stop them in order, and on Linux they die with the process that
// started them, however it ends. Only their directory under [os.TempDir] is left then.
package sandbox

import "errors"

// ErrNotInstalled says that this machine lacks the server's binaries. The error that wraps it names
// them, and what to install.
var ErrNotInstalled = errors.New("not installed")
