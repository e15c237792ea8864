package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// RedisOptions are the settings of a Redis server. The zero value is a server without persistence.
type RedisOptions struct {
	// Binary is the server's binary. Empty means redis-server or valkey-server in the directory that
	// SANDBOX_REDIS_BIN names, and redis-server on PATH where it is not set.
	Binary string
	// Dir is the server's directory, which Stop keeps. Empty means a temporary directory, which Stop removes.
	Dir string
	// TempDir is where the temporary directory is made. Empty means [os.TempDir].
	TempDir string
	// Port is the port on 127.0.0.1. 0 means a free port.
	Port int
	// AppendOnly turns the append-only file on, synced every second: data survives Restart and Kill.
	AppendOnly bool
	// Cluster starts the server as the only node of a Redis Cluster, without slots.
	Cluster bool
	// Sentinel starts a Sentinel that watches nothing yet. It has no data, and AppendOnly and Cluster do not apply.
	Sentinel bool
	// ExtraArgs are appended to the command line, such as "--maxmemory", "64mb".
	ExtraArgs []string
}

// Redis is a redis-server process. Its maxmemory-policy is noeviction, because eviction of a stream would
// lose input.
type Redis struct {
	Server
	port int
}

// StartRedis starts a redis-server and returns when it answers PING. ctx bounds only the start. The caller
// calls Stop. The error wraps [ErrNotInstalled] if there is no redis-server.
func StartRedis(ctx context.Context, options RedisOptions) (*Redis, error) {
	binary, err := findRedis(options.Binary)
	if err != nil {
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	r := &Redis{port: options.Port}
	if r.port == 0 {
		if r.port, err = FreePort(); err != nil {
			return nil, fmt.Errorf("start redis-server: %w", err)
		}
	}
	if options.Cluster {
		// The default port of the cluster bus, 10,000 above, may be in use.
		bus, err := FreePort()
		if err != nil {
			return nil, fmt.Errorf("start redis-server: %w", err)
		}
		options.ExtraArgs = append([]string{
			"--cluster-enabled", "yes",
			"--cluster-announce-ip", "127.0.0.1",
			"--cluster-port", strconv.Itoa(bus),
		}, options.ExtraArgs...)
	}
	dir := options.Dir
	if dir == "" {
		if dir, err = os.MkdirTemp(options.TempDir, "processor-redis-"); err != nil {
			return nil, fmt.Errorf("start redis-server: %w", err)
		}
		r.temporary = []string{dir}
	}
	args, err := redisArgs(dir, r.port, options)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start redis-server: %w", err), r.Stop(ctx))
	}

	r.name = "redis-server"
	r.stopSignal = syscall.SIGTERM
	r.log = filepath.Join(dir, "redis.log")
	r.ping = r.pingServer
	r.command = func() *exec.Cmd {
		cmd := exec.Command(binary, args...)
		cmd.Dir = dir
		cmd.SysProcAttr = sysProcAttr(nil)
		return cmd
	}
	if err := r.start(ctx); err != nil {
		return nil, errors.Join(err, r.Stop(ctx))
	}
	return r, nil
}

func redisArgs(dir string, port int, options RedisOptions) ([]string, error) {
	if options.Sentinel {
		config := filepath.Join(dir, "sentinel.conf") // a Sentinel writes what it learns to its file
		err := os.WriteFile(config, nil, 0o600)
		return append([]string{config, "--sentinel", "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir}, options.ExtraArgs...), err
	}
	appendOnly := "no"
	if options.AppendOnly {
		appendOnly = "yes"
	}
	return append([]string{
		"--bind", "127.0.0.1",
		"--port", strconv.Itoa(port),
		"--dir", dir,
		"--save", "",
		"--appendonly", appendOnly,
		"--appendfsync", "everysec",
		"--maxmemory-policy", "noeviction",
	}, options.ExtraArgs...), nil
}

// Address returns 127.0.0.1:<port>.
func (r *Redis) Address() string { return address(r.port) }

// URL returns redis://127.0.0.1:<port>.
func (r *Redis) URL() string {
	return "redis://" + address(r.port)
}

func (r *Redis) pingServer(ctx context.Context) error {
	// Connect without go-redis first: it logs refused connections, which are normal during the start.
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address(r.port))
	if err != nil {
		return err
	}
	if err := conn.Close(); err != nil {
		return err
	}
	client := redis.NewClient(&redis.Options{Addr: address(r.port), ContextTimeoutEnabled: true, MaxRetries: -1})
	defer client.Close()
	return client.Ping(ctx).Err()
}
