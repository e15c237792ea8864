package bench

import (
	"context"
	"fmt"
	"runtime"

	"github.com/redis/go-redis/v9"
)

// Machine describes the machine and the servers of a report.
type Machine struct {
	Cores       int    `json:"cores"`
	CPU         string `json:"cpu"`
	Go          string `json:"go"`
	Platform    string `json:"platform"`
	PostgreSQL  string `json:"postgresql"`
	TimescaleDB string `json:"timescaledb"` // empty: positions is a plain table
	Redis       string `json:"redis"`
	// Settings of PostgreSQL that affect the figures.
	Fsync             string `json:"fsync"`
	SynchronousCommit string `json:"synchronous_commit"`
	SharedBuffers     string `json:"shared_buffers"`
	// Disposable reports for each server whether the benchmark started it.
	Disposable struct {
		PostgreSQL bool `json:"postgresql"`
		Redis      bool `json:"redis"`
	} `json:"disposable"`
}

func describe(ctx context.Context, s *servers, d *database) (Machine, error) {
	m := Machine{
		Cores:    runtime.NumCPU(),
		CPU:      cpuModel(),
		Go:       runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	m.Disposable.PostgreSQL, m.Disposable.Redis = s.ownDatabase(), s.ownRedis()
	server, err := d.settings(ctx)
	if err != nil {
		return m, err
	}
	m.PostgreSQL, m.TimescaleDB = server.Version, server.TimescaleDB
	m.Fsync, m.SynchronousCommit, m.SharedBuffers = server.Fsync, server.SynchronousCommit, server.SharedBuffers
	m.Redis, err = redisVersion(ctx, s.redis)
	return m, err
}

func redisVersion(ctx context.Context, client redis.UniversalClient) (string, error) {
	info, err := client.InfoMap(ctx, "server").Result()
	if err != nil {
		return "", fmt.Errorf("read Redis version: %w", err)
	}
	return info["Server"]["redis_version"], nil
}
