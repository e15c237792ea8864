// Package sandbox runs disposable Redis and PostgreSQL servers as child processes, for demo, bench and
// the tests.
//
// A server listens on a port of 127.0.0.1, keeps its data in a directory that no other server uses, and is
// stopped by the caller that started it. A terminal's Ctrl-C does not reach the servers, so that the caller
// can stop them in order. On Linux the kernel kills them when the process that started them ends; only
// their directory under [os.TempDir] is then left.
//
// [StartRedis] returns a [Redis], [StartPostgres] a [Postgres]; both embed [Server], which stops, kills,
// pauses and restarts them. Read server.go and process.go first, then redis.go, postgres.go and
// installation.go.
package sandbox

import "errors"

// ErrNotInstalled means that this machine lacks the server's binaries. The error that wraps it says what to
// install.
var ErrNotInstalled = errors.New("not installed")
