package servertest

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"

	"processor/internal/sandbox"
)

//go:embed has_timescaledb.sql
var hasTimescaleDB string

// sourceVariable names the only source of servers that is tried: docker or local. If it is not set, both are, in this
// order. URLs come before either.
const sourceVariable = "TEST_SERVERS"

type starter func(context.Context) (server, error)

// start returns the server of the source that only names, or of the first one that has it.
func start(ctx context.Context, only string, container, local starter) (server, error) {
	switch only {
	case "docker":
		return container(ctx)
	case "local":
		return local(ctx)
	case "":
	default:
		return server{}, fmt.Errorf("%s=%q names no source of servers: want docker or local", sourceVariable, only)
	}
	s, errDocker := container(ctx)
	if errDocker == nil {
		return s, nil
	}
	s, err := local(ctx)
	if err != nil {
		return server{}, errors.Join(err, errDocker)
	}
	return s, nil
}

func startRedis(ctx context.Context) (server, error) {
	if url := os.Getenv("TEST_REDIS_URL"); url != "" {
		return server{url: url}, nil
	}
	s, err := start(ctx, os.Getenv(sourceVariable), startRedisContainer, startLocalRedis)
	if err != nil {
		return server{}, fmt.Errorf("no Redis for the tests: run scripts/test, which installs it, or set TEST_REDIS_URL: %w", err)
	}
	return s, nil
}

func startLocalRedis(ctx context.Context) (server, error) {
	redis, err := sandbox.StartRedis(ctx, sandbox.RedisOptions{})
	if err != nil {
		return server{}, err
	}
	return server{url: redis.URL(), stop: redis.Stop}, nil
}

func startPostgres(ctx context.Context) (server, error) {
	s, err := findPostgres(ctx)
	if err != nil {
		return server{}, err
	}
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return s, err
	}
	err = conn.QueryRow(ctx, hasTimescaleDB).Scan(&s.timescaleDB)
	return s, errors.Join(err, conn.Close(ctx))
}

func findPostgres(ctx context.Context) (server, error) {
	if url := os.Getenv("TEST_DATABASE_URL"); url != "" {
		return server{url: url}, nil
	}
	s, err := start(ctx, os.Getenv(sourceVariable), startPostgresContainer, startLocalPostgres)
	if err != nil {
		return server{}, fmt.Errorf("no PostgreSQL for the tests: run scripts/test, which installs it, or set TEST_DATABASE_URL: %w", err)
	}
	return s, nil
}

func startLocalPostgres(ctx context.Context) (server, error) {
	postgres, err := sandbox.StartPostgres(ctx, sandbox.PostgresOptions{})
	if err != nil {
		return server{}, err
	}
	return server{url: postgres.URL("postgres"), stop: postgres.Stop}, nil
}
