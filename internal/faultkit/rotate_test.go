package faultkit

import (
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
)

// The passwords of both servers change under a worker whose URLs come from files. Every new connection, of
// the reads, of other commands and to PostgreSQL, uses what the file holds at that moment; without the file,
// what it held last.
func TestSecret_IsReadAgain(t *testing.T) {
	t.Parallel()
	server := servertest.NewRedis(t, sandbox.RedisOptions{})
	r := newRigOn(t, server.URL(), servertest.Migrated(t))
	role := "rotating_" + strings.ToLower(rand.Text())
	r.execute(`CREATE ROLE ` + role + ` SUPERUSER LOGIN PASSWORD 'password-1'`)
	t.Cleanup(func() { servertest.Execute(t, r.database, `DROP ROLE `+role) })
	dir := t.TempDir()
	write := func(name, rawURL, user, password string) string {
		u, err := url.Parse(rawURL)
		require.NoError(t, err)
		u.User = url.UserPassword(user, password)
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path+".new", []byte(u.String()+"\n"), 0o600))
		require.NoError(t, os.Rename(path+".new", path))
		return u.String()
	}
	files := func(password string) (redisURL, databaseURL string) {
		return write("redis", server.URL(), "worker", password), write("database", r.database, role, password)
	}
	change := func(password string) {
		require.NoError(t, r.redis.Do(t.Context(), "ACL", "SETUSER", "worker", "on", "resetpass", ">"+password, "~*", "&*", "+@all").Err())
		r.execute(fmt.Sprintf(`ALTER ROLE %s PASSWORD '%s'`, role, password))
	}
	disconnect := func() {
		require.NoError(t, r.redis.Do(t.Context(), "CLIENT", "KILL", "USER", "worker").Err())
		r.execute(fmt.Sprintf(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '%s'`, role))
	}
	change("password-1")
	r.config.Redis.URL, r.config.Database.URL = files("password-1")
	r.config.Redis.URLFile, r.config.Database.URLFile = filepath.Join(dir, "redis"), filepath.Join(dir, "database")
	r.publish(100)
	w := r.start()
	r.awaitDrained()
	servertest.Until(t, "ready", w.ready)

	files("password-2")
	disconnect()
	servertest.Until(t, "the server has the old password", func() bool { return strings.Contains(w.failing("schema"), "28P01") })
	require.Empty(t, w.failing("postgres"), "it answers")
	change("password-2")
	r.publish(100)
	r.awaitDrained()
	servertest.Until(t, "ready again", w.ready)

	change("password-3")
	files("password-3")
	disconnect()
	r.publish(100)
	r.awaitDrained()
	servertest.Until(t, "ready with the third", w.ready)

	require.NoError(t, os.Remove(r.config.Redis.URLFile))
	require.NoError(t, os.WriteFile(r.config.Database.URLFile, nil, 0o600))
	disconnect()
	r.publish(100)
	r.awaitDrained()
	servertest.Until(t, "ready without the files", w.ready)
	require.Len(t, w.lines("secret file cannot be read; using the value read last"), 2)
	w.stop()
	r.requireExact()
	for _, password := range []string{"password-1", "password-2", "password-3"} {
		require.NotContains(t, w.Log(), password)
	}
}
