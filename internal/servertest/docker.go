package servertest

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"
)

const (
	redisImage    = "redis:7.4.6-alpine"
	postgresImage = "timescale/timescaledb:2.23.0-pg17"
)

func startRedisContainer(ctx context.Context) (server, error) {
	return startContainer(ctx, redisImage, "6379/tcp", "redis://%s",
		testcontainers.WithCmd("redis-server", "--save", "", "--maxmemory-policy", "noeviction", "--protected-mode", "no"),
		testcontainers.WithWaitStrategyAndDeadline(startTimeout,
			wait.ForLog("Ready to accept connections"),
			wait.ForListeningPort("6379/tcp")))
}

func startPostgresContainer(ctx context.Context) (server, error) {
	s, err := startContainer(ctx, postgresImage, "5432/tcp", "postgres://postgres:postgres@%s/postgres?sslmode=disable",
		testcontainers.WithEnv(map[string]string{"POSTGRES_PASSWORD": "postgres", "TIMESCALEDB_TELEMETRY": "off"}),
		// The image starts its server twice: first for the setup, on a Unix socket only.
		testcontainers.WithWaitStrategyAndDeadline(startTimeout,
			wait.ForLog("database system is ready to accept connections").WithOccurrence(2),
			wait.ForListeningPort("5432/tcp")))
	if err != nil {
		return server{}, err
	}
	if err := emptyTemplate(ctx, s.url); err != nil {
		return server{}, errors.Join(err, s.stop(ctx))
	}
	return s, nil
}

// emptyTemplate removes TimescaleDB from template1, where the image creates it: tests begin with databases without it.
func emptyTemplate(ctx context.Context, postgresURL string) error {
	config, err := pgx.ParseConfig(postgresURL)
	if err != nil {
		return fmt.Errorf("read the URL of the container: %w", err)
	}
	config.Database = "template1"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connect to template1: %w", err)
	}
	_, err = conn.Exec(ctx, "DROP EXTENSION IF EXISTS timescaledb CASCADE")
	return errors.Join(err, conn.Close(ctx))
}

// startContainer runs image and returns its server. url is a format for the address of port.
func startContainer(ctx context.Context, image, port, url string, options ...testcontainers.ContainerCustomizer) (server, error) {
	if err := dockerAnswers(ctx); err != nil {
		return server{}, fmt.Errorf("no Docker engine: %w", err)
	}
	container, err := testcontainers.Run(ctx, image, append(options, testcontainers.WithExposedPorts(port))...)
	stop := func(context.Context) error { return testcontainers.TerminateContainer(container) }
	if err != nil {
		return server{}, errors.Join(fmt.Errorf("run %s: %w", image, err), stop(ctx))
	}
	address, err := container.PortEndpoint(ctx, port, "")
	if err != nil {
		return server{}, errors.Join(fmt.Errorf("run %s: %w", image, err), stop(ctx))
	}
	return server{url: fmt.Sprintf(url, address), stop: stop}, nil
}

func dockerAnswers(ctx context.Context) error {
	provider, err := testcontainers.NewDockerProvider()
	if err != nil {
		return err
	}
	return errors.Join(provider.Health(ctx), provider.Close())
}
