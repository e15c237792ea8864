// Package servertest provides real servers for integration tests: one Redis and one PostgreSQL for all
// tests of a package, started on first use.
//
// The servers come from the first available source: the environment (TEST_REDIS_URL, TEST_DATABASE_URL);
// containers, if a Docker engine answers; this machine's binaries, through package sandbox. TEST_SERVERS=docker or
// TEST_SERVERS=local allows only one of the latter two. If none is available, the test fails with a message that says
// what to install. It never skips.
//
// Tests share a server but no data: each test uses its own stream name ([StreamName]) and database
// ([Database]). A test that stops, kills or pauses a server starts a private one with [NewRedis] or
// [NewPostgres]. [TimescaleDB] starts a PostgreSQL with TimescaleDB on every machine.
//
// [Migrated], [Connect], [Execute] and [Ask] use a database; [Until] and [Within] wait with a deadline;
// [Log] collects output.
package servertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const (
	startTimeout = 5 * time.Minute // an image may have to be pulled
	stopTimeout  = time.Minute
)

// servers are the servers of this test binary. They are package state, because TestMain cannot pass values
// to tests.
var servers struct {
	redis, postgres shared
}

// server is a running server from any source. stop is nil if the server was given by URL.
type server struct {
	url         string
	timescaleDB bool
	stop        func(context.Context) error
}

// shared is a server that is started once, on first use.
type shared struct {
	once   sync.Once
	server server
	err    error
}

func (s *shared) get(t testing.TB, start func(context.Context) (server, error)) server {
	t.Helper()
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
		defer cancel()
		s.server, s.err = start(ctx)
	})
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.server
}

func (s *shared) stop(ctx context.Context) error {
	if s.server.stop == nil {
		return nil
	}
	return s.server.stop(ctx)
}

// Main is the body of a package's TestMain. It runs the tests, stops the servers that they used, fails if
// goroutines are left (goleak, with options), and exits.
func Main(m *testing.M, options ...goleak.Option) {
	// testcontainers keeps a connection to its reaper, which removes containers after a killed test.
	options = append(options, goleak.IgnoreAnyFunction("github.com/testcontainers/testcontainers-go.(*Reaper).connect.func1"))
	goleak.VerifyTestMain(runner(func() int {
		code := m.Run()
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if err := errors.Join(servers.redis.stop(ctx), servers.postgres.stop(ctx)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return max(code, 1)
		}
		return code
	}), options...)
}

// runner implements the method of [testing.M] that goleak needs.
type runner func() int

func (r runner) Run() int { return r() }

// Redis returns the URL of the package's Redis server. Use keys from [StreamName], and do not flush.
func Redis(t testing.TB) string {
	t.Helper()
	return servers.redis.get(t, startRedis).url
}

// HasTimescaleDB reports whether TimescaleDB can be enabled in databases of [Database].
func HasTimescaleDB(t testing.TB) bool {
	t.Helper()
	return servers.postgres.get(t, startPostgres).timescaleDB
}
