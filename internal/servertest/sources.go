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

func startRedis(ctx context.Context) (server, error) {
	if url := os.Getenv("TEST_REDIS_URL"); url != "" {
		return server{url: url}, nil
	}
	container, errDocker := startRedisContainer(ctx)
	if errDocker == nil {
		return container, nil
	}
	redis, err := sandbox.StartRedis(ctx, sandbox.RedisOptions{})
	if err != nil {
		return server{}, fmt.Errorf("no Redis for the tests: run scripts/test, which installs it, or set TEST_REDIS_URL: %w", errors.Join(err, errDocker))
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
	container, errDocker := startPostgresContainer(ctx)
	if errDocker == nil {
		return container, nil
	}
	postgres, err := sandbox.StartPostgres(ctx, sandbox.PostgresOptions{})
	if err != nil {
		return server{}, fmt.Errorf("no PostgreSQL for the tests: run scripts/test, which installs it, or set TEST_DATABASE_URL: %w", errors.Join(err, errDocker))
	}
	return server{url: postgres.URL("postgres"), stop: postgres.Stop}, nil
}
