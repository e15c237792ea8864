package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/redis/go-redis/v9"

	"processor/internal/sandbox"
	"processor/internal/schema"
	"processor/internal/stream"
)

// stopTimeout is the timeout for stopping the servers, and for stopping the worker.
const stopTimeout = 30 * time.Second

// databaseName is the name of the database on a disposable server.
const databaseName = "bench"

// servers are the Redis and PostgreSQL servers of the benchmark: disposable ones, or given by URL.
type servers struct {
	redisURL, databaseURL string
	redis                 redis.UniversalClient
	ownRedisServer        *sandbox.Redis    // nil if a URL was given
	ownDatabaseServer     *sandbox.Postgres // nil if a URL was given
}

func startServers(ctx context.Context, opts Options) (*servers, error) {
	s := &servers{redisURL: opts.RedisURL, databaseURL: opts.DatabaseURL}
	err := s.startRedis(ctx)
	if err == nil {
		err = s.startDatabase(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.stop(ctx))
	}
	return s, nil
}

func (s *servers) startRedis(ctx context.Context) (err error) {
	if s.redisURL == "" {
		if s.ownRedisServer, err = sandbox.StartRedis(ctx, sandbox.RedisOptions{}); err != nil {
			return err
		}
		s.redisURL = s.ownRedisServer.URL()
	}
	if s.redis, err = stream.Connect(s.redisURL); err != nil {
		return fmt.Errorf("read the Redis URL: %w", err)
	}
	return stream.Ping(ctx, s.redis)
}

// serverConf are settings of a disposable PostgreSQL server beside the defaults of its installation.
func serverConf() []string {
	return []string{
		"track_commit_timestamp = on",      // the delays of live rows
		"max_locks_per_transaction = 1024", // truncates thousands of chunks at once
	}
}

// startDatabase starts and migrates a disposable server, unless a URL was given. The server has the
// defaults of its installation, but for serverConf: fsync and synchronous_commit are on.
func (s *servers) startDatabase(ctx context.Context) (err error) {
	if s.databaseURL != "" {
		return nil
	}
	if s.ownDatabaseServer, err = sandbox.StartPostgres(ctx, sandbox.PostgresOptions{ExtraConf: serverConf()}); err != nil {
		return err
	}
	if err := s.ownDatabaseServer.CreateDatabase(ctx, databaseName); err != nil {
		return err
	}
	s.databaseURL = s.ownDatabaseServer.URL(databaseName)
	if s.ownDatabaseServer.HasTimescaleDB() {
		err = s.ownDatabaseServer.EnableTimescaleDB(ctx, databaseName)
	} else {
		s.databaseURL, err = sandbox.PlainTableURL(s.databaseURL)
	}
	if err != nil {
		return err
	}
	return schema.MigrateUp(ctx, s.databaseURL)
}

func (s *servers) ownRedis() bool    { return s.ownRedisServer != nil }
func (s *servers) ownDatabase() bool { return s.ownDatabaseServer != nil }

// stop stops the disposable servers. It may be called after a failed start.
func (s *servers) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	var err error
	if s.redis != nil {
		err = s.redis.Close()
	}
	if s.ownRedis() {
		err = errors.Join(err, s.ownRedisServer.Stop(ctx))
	}
	if s.ownDatabase() {
		err = errors.Join(err, s.ownDatabaseServer.Stop(ctx))
	}
	return err
}

// serverCPU is the CPU time of the servers in seconds; NaN for given servers.
type serverCPU struct {
	redis, postgres float64
}

func (s *servers) cpu() (serverCPU, error) {
	used := serverCPU{math.NaN(), math.NaN()}
	var err error
	if s.ownRedis() {
		if used.redis, err = cpuSeconds(s.ownRedisServer.PID()); err != nil {
			return used, fmt.Errorf("CPU time of Redis: %w", err)
		}
	}
	if s.ownDatabase() {
		if used.postgres, err = cpuSeconds(s.ownDatabaseServer.PID()); err != nil {
			return used, fmt.Errorf("CPU time of PostgreSQL: %w", err)
		}
	}
	return used, nil
}
