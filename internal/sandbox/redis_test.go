package sandbox_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
)

func startRedis(t *testing.T, options sandbox.RedisOptions) (*sandbox.Redis, *redis.Client) {
	t.Helper()
	server, err := sandbox.StartRedis(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop(context.WithoutCancel(t.Context()))) })
	opts, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	opts.MaxRetries, opts.DialerRetries, opts.ContextTimeoutEnabled = -1, 1, true
	client := redis.NewClient(opts)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return server, client
}

func TestRedis_StopRemovesEverything(t *testing.T) {
	list := setTempDir(t)
	server, client := startRedis(t, sandbox.RedisOptions{})
	pid := server.PID()
	require.NoError(t, client.Ping(t.Context()).Err())
	require.Len(t, list(), 1)
	require.True(t, processRuns(pid))

	require.NoError(t, server.Stop(t.Context()))
	require.NoError(t, server.Stop(t.Context()), "a second time")

	require.Empty(t, list())
	require.False(t, processRuns(pid))
	require.Error(t, client.Ping(t.Context()).Err())
	require.EqualError(t, server.Restart(t.Context()), "restart redis-server: already stopped and removed")
}

func TestRedis_RestartAfterKillKeepsWhatIsOnDisk(t *testing.T) {
	tests := map[string]struct {
		options sandbox.RedisOptions
		want    int64
	}{
		"append-only file": {sandbox.RedisOptions{AppendOnly: true}, 1},
		"memory":           {sandbox.RedisOptions{}, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server, client := startRedis(t, test.options)
			url, pid := server.URL(), server.PID()
			require.NoError(t, client.Set(t.Context(), "key", "value", 0).Err())

			require.NoError(t, server.Kill())
			require.Error(t, client.Ping(t.Context()).Err())
			require.NoError(t, server.Restart(t.Context()))

			require.Equal(t, url, server.URL())
			require.NotEqual(t, pid, server.PID())
			require.Equal(t, test.want, client.Exists(t.Context(), "key").Val())
		})
	}
}

func TestRedis_PauseStopsAnswers(t *testing.T) {
	server, client := startRedis(t, sandbox.RedisOptions{})
	require.NoError(t, client.Ping(t.Context()).Err())

	require.NoError(t, server.Pause())
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	var timeout net.Error
	require.ErrorAs(t, client.Incr(ctx, "key").Err(), &timeout)
	require.True(t, timeout.Timeout())

	require.NoError(t, server.Resume())
	require.NoError(t, client.Ping(t.Context()).Err())
}

func TestRedis_StopEndsAPausedServer(t *testing.T) {
	server, _ := startRedis(t, sandbox.RedisOptions{})
	require.NoError(t, server.Pause())
	require.NoError(t, server.Stop(t.Context()))
	require.False(t, processRuns(server.PID()))
}

func TestRedis_IsConfiguredForStreams(t *testing.T) {
	_, client := startRedis(t, sandbox.RedisOptions{AppendOnly: true, ExtraArgs: []string{"--maxmemory", "64mb"}})
	want := map[string]string{
		"appendonly": "yes", "appendfsync": "everysec", "maxmemory": "67108864",
		"maxmemory-policy": "noeviction", "save": "", "bind": "127.0.0.1",
	}
	got := map[string]string{}
	for name := range want {
		maps.Copy(got, client.ConfigGet(t.Context(), name).Val())
	}
	require.Equal(t, want, got)
}

func TestStartRedis_Errors(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "redis-server")
	list := setTempDir(t)

	_, err := sandbox.StartRedis(t.Context(), sandbox.RedisOptions{Binary: missing})
	require.ErrorIs(t, err, sandbox.ErrNotInstalled)
	require.EqualError(t, err, "start redis-server: "+missing+" is not installed: install Debian's redis-server, or set SANDBOX_REDIS_BIN to its directory")

	_, err = sandbox.StartRedis(t.Context(), sandbox.RedisOptions{ExtraArgs: []string{"--no-such-option", "1"}})
	require.ErrorContains(t, err, "start redis-server: exit status 1: ")
	require.ErrorContains(t, err, "no-such-option")

	require.Empty(t, list())
}

// SANDBOX_REDIS_BIN names the directory of the server, redis-server or valkey-server, and nothing is a way around it.
func TestRedis_ComesFromTheDirectoryThatIsNamed(t *testing.T) {
	installed, err := exec.LookPath("redis-server")
	require.NoError(t, err)
	for _, name := range []string{"redis-server", "valkey-server"} {
		dir := t.TempDir()
		program := filepath.Join(dir, name)
		script := fmt.Sprintf("#!/bin/sh\ntouch \"$0.ran\"\nexec %s \"$@\"\n", installed)
		require.NoError(t, os.WriteFile(program, []byte(script), 0o700))
		t.Setenv("SANDBOX_REDIS_BIN", dir)
		startRedis(t, sandbox.RedisOptions{})
		require.FileExists(t, program+".ran")
	}
	t.Setenv("SANDBOX_REDIS_BIN", t.TempDir())
	_, err = sandbox.StartRedis(t.Context(), sandbox.RedisOptions{})
	require.ErrorIs(t, err, sandbox.ErrNotInstalled)
	require.ErrorContains(t, err, "SANDBOX_REDIS_BIN")
}

// A Sentinel takes what it is told to watch, and forgets all of it with Stop.
func TestRedis_StartsASentinel(t *testing.T) {
	primary, _ := startRedis(t, sandbox.RedisOptions{})
	_, client := startRedis(t, sandbox.RedisOptions{Sentinel: true})
	host, port, err := net.SplitHostPort(primary.Address())
	require.NoError(t, err)
	require.NoError(t, client.Do(t.Context(), "SENTINEL", "MONITOR", "m", host, port, 1).Err())
	address, err := client.Do(t.Context(), "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "m").StringSlice()
	require.NoError(t, err)
	require.Equal(t, []string{host, port}, address)
}
