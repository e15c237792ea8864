package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"processor/internal/inspect"
	"processor/internal/sandbox"
	"processor/internal/stream"
)

const (
	databaseName = "processor"

	// maxMemory bounds the backlog in Redis. Above it Redis refuses XADD, and the publisher retries.
	maxMemory = "512mb"

	stopTimeout  = 20 * time.Second
	abortTimeout = 2 * time.Second
)

// servers are the Redis and PostgreSQL servers of the demo.
type servers struct {
	redisURL, databaseURL   string
	redisName, postgresName string // name and version, for the display
	// imitation: Redis is miniredis.
	imitation bool
	postgres  *sandbox.Postgres
	// dir is where the servers have their files.
	dir   string
	stops []func(context.Context) error
	// abandoned: a download goes on in the background, which only the end of the process stops.
	abandoned bool
}

// start starts Redis and PostgreSQL, with substitutes for those that are not installed. The caller calls
// stop, also after an error.
func (s *servers) start(ctx context.Context, options sandbox.RedisOptions, say func(string)) error {
	say("starting Redis")
	options.TempDir = s.dir
	options.ExtraArgs = append([]string{"--maxmemory", maxMemory}, options.ExtraArgs...)
	if err := s.startRedis(ctx, options); err != nil {
		return err
	}
	say("starting PostgreSQL")
	postgresOptions := sandbox.PostgresOptions{TempDir: s.dir, ExtraConf: []string{
		"dynamic_shared_memory_type = mmap", // a file in the directory, which is removed with it
	}}
	postgres, err := sandbox.StartPostgres(ctx, postgresOptions)
	if errors.Is(err, sandbox.ErrNotInstalled) {
		say(err.Error())
		say("downloading PostgreSQL instead (once, about 30 MB)")
		postgres, err = s.download(ctx, postgresOptions)
	}
	if err != nil {
		return err
	}
	s.postgres = postgres
	s.stops = append(s.stops, postgres.Stop)
	return s.createDatabase(ctx, postgres)
}

// download starts an embedded PostgreSQL. If ctx ends meanwhile, it returns although the download goes on.
func (s *servers) download(ctx context.Context, options sandbox.PostgresOptions) (*sandbox.Postgres, error) {
	var postgres *sandbox.Postgres
	started := begin(func() (err error) {
		postgres, err = sandbox.StartEmbeddedPostgres(ctx, options)
		return err
	})
	select {
	case <-started.done:
		return postgres, started.err
	case <-ctx.Done():
		s.abandoned = true
		return nil, context.Cause(ctx)
	}
}

func (s *servers) startRedis(ctx context.Context, options sandbox.RedisOptions) error {
	server, err := sandbox.StartRedis(ctx, options)
	if errors.Is(err, sandbox.ErrNotInstalled) {
		return s.startMiniredis()
	}
	if err != nil {
		return err
	}
	s.stops = append(s.stops, server.Stop)
	s.redisURL = server.URL()
	version, err := redisVersion(ctx, s.redisURL)
	s.redisName = "redis-server " + version
	return err
}

func (s *servers) startMiniredis() error {
	url, stop, err := sandbox.StartMiniredis()
	if err != nil {
		return err
	}
	s.stops = append(s.stops, func(context.Context) error {
		stop()
		return nil
	})
	s.imitation = true
	s.redisURL, s.redisName = url, "miniredis (redis-server not installed)"
	return nil
}

func redisVersion(ctx context.Context, url string) (version string, err error) {
	client, err := stream.Connect(url)
	if err != nil {
		return "", fmt.Errorf("read Redis version: %w", err)
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	info, err := client.InfoMap(ctx, "server").Result()
	if err != nil {
		return "", fmt.Errorf("read Redis version: %w", err)
	}
	return info["Server"]["redis_version"], nil
}

// createDatabase creates the database and prepares it for the migrations: it enables TimescaleDB if the
// server has it, else it allows a plain table.
func (s *servers) createDatabase(ctx context.Context, postgres *sandbox.Postgres) error {
	err := postgres.CreateDatabase(ctx, databaseName)
	if err != nil {
		return err
	}
	s.databaseURL = postgres.URL(databaseName)
	if postgres.HasTimescaleDB() {
		err = postgres.EnableTimescaleDB(ctx, databaseName)
	} else {
		s.databaseURL, err = sandbox.PlainTableURL(s.databaseURL)
	}
	if err != nil {
		return err
	}
	version, err := postgresVersion(ctx, s.databaseURL)
	s.postgresName = "PostgreSQL " + version
	return err
}

func postgresVersion(ctx context.Context, url string) (version string, err error) {
	inspector, err := inspect.Connect(ctx, url)
	if err != nil {
		return "", fmt.Errorf("read PostgreSQL version: %w", err)
	}
	defer func() { err = errors.Join(err, inspector.Close(ctx)) }()
	server, err := inspector.Server(ctx)
	if err != nil {
		return "", err
	}
	version, _, _ = strings.Cut(server.Version, " ") // "15.14 (Debian …)"
	return version, nil
}

// stop stops the servers in reverse order of their start. After the end of abort it kills them, but PostgreSQL, which
// would leave shared memory behind: that has a moment for an immediate shutdown.
func (s *servers) stop(abort context.Context) error {
	ctx, cancel := context.WithTimeout(abort, stopTimeout)
	defer cancel()
	var err error
	if abort.Err() != nil && s.postgres != nil {
		moment, cancel := context.WithTimeout(context.WithoutCancel(abort), abortTimeout)
		defer cancel()
		err = s.postgres.StopImmediate(moment)
	}
	for _, stop := range slices.Backward(s.stops) {
		err = errors.Join(err, stop(ctx))
	}
	return err
}
