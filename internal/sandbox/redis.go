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

// RedisOptions says how a Redis server runs. The zero value is a server that keeps nothing on disk.
type RedisOptions struct {
	// Binary is the server's binary. Empty means the redis-server on PATH.
	Binary string
	// Dir holds the server's files. Empty means a temporary directory, which Stop removes; a directory
	// given here stays.
	Dir string
	// Port on 127.0.0.1. 0 means a free one.
	Port int
	// AppendOnly keeps the append-only file, synced every second: data outlives Restart and Kill.
	AppendOnly bool
	// Cluster makes the server a node of a Redis Cluster of its own, without slots.
	Cluster bool
	// ExtraArgs follow the arguments that the other options make, as in "--maxmemory", "64mb".
	ExtraArgs []string
}

// Redis is a redis-server process. It never evicts (maxmemory-policy noeviction), as an evicted stream
// would be lost input.
type Redis struct {
	Server
	port int
}

// StartRedis starts a redis-server and returns when it answers PING; ctx bounds that wait alone. The
// caller calls Stop. The error wraps [ErrNotInstalled] where there is no redis-server.
func StartRedis(ctx context.Context, options RedisOptions) (*Redis, error) {
	name := "redis-server"
	if options.Binary != "" {
		name = options.Binary
	}
	binary, err := findBinary(name)
	if err != nil {
		return nil, fmt.Errorf("start redis-server: %s is %w: install Debian's redis-server", name, ErrNotInstalled)
	}
	r := &Redis{port: options.Port}
	if r.port == 0 {
		if r.port, err = freePort(); err != nil {
			return nil, fmt.Errorf("start redis-server: %w", err)
		}
	}
	if options.Cluster {
		// By default nodes talk on the port 10,000 above, which somebody else may have.
		bus, err := freePort()
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
		if dir, err = os.MkdirTemp("", "processor-redis-"); err != nil {
			return nil, fmt.Errorf("start redis-server: %w", err)
		}
		r.temporary = []string{dir}
	}
	args := redisArgs(dir, r.port, options)

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

func redisArgs(dir string, port int, options RedisOptions) []string {
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
	}, options.ExtraArgs...)
}

// URL is redis://127.0.0.1:<port>.
func (r *Redis) URL() string {
	return "redis://" + address(r.port)
}

func (r *Redis) pingServer(ctx context.Context) error {
	// go-redis logs a refused connection, and a server that is starting refuses.
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
