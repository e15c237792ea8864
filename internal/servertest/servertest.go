// Package servertest gives integration tests their servers: real ones, one set for the tests of a
// package, started when a test first asks.
//
// They come from, in this order: the environment (TEST_REDIS_URL, TEST_DATABASE_URL); containers, where
// a Docker engine answers; this machine's binaries, through package sandbox. Where there are none the
// test fails and says what to install. It never skips.
//
// Tests share a server and nothing on it: each has a stream name and a database of its own. A test that
// stops, kills or pauses a server starts one for itself, with [NewRedis] or [NewPostgres].
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

// servers are those of this test binary. They are package state because the tests of a package share
// nothing else: TestMain cannot hand them a value.
var servers struct {
	redis, postgres shared
}

// server is one that runs, wherever it came from.
type server struct {
	url         string
	timescaleDB bool
	stop        func(context.Context) error
}

// shared is a server that starts once, on first use.
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

// Main is the body of a package's TestMain. It runs the tests, stops the servers that they used, fails
// where goroutines are left then (goleak, with options), and exits.
func Main(m *testing.M, options ...goleak.Option) {
	// The connection that lets testcontainers' reaper outlive a killed test.
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

// runner is what goleak wants of a [testing.M].
type runner func() int

func (r runner) Run() int { return r() }

// Redis returns the URL of the package's Redis server. Take keys from [StreamName], and flush nothing.
func Redis(t testing.TB) string {
	t.Helper()
	return servers.redis.get(t, startRedis).url
}

// HasTimescaleDB reports whether databases of [Database] can have TimescaleDB.
func HasTimescaleDB(t testing.TB) bool {
	t.Helper()
	return servers.postgres.get(t, startPostgres).timescaleDB
}
