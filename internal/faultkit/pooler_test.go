package faultkit

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/servertest"
)

// pooler starts PgBouncer before a database and returns the URL through it.
func pooler(t testing.TB, databaseURL, mode string, size int) string {
	t.Helper()
	return newPooler(t, databaseURL, mode, size).url
}

// bouncer is a PgBouncer process.
type bouncer struct {
	*Process
	url, addr string
	configure func(server string)
}

// newPooler starts PgBouncer before a database, in which it sets what the URL's options would have said.
func newPooler(t testing.TB, databaseURL, mode string, size int) *bouncer {
	t.Helper()
	servertest.Execute(t, databaseURL, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET processor.allow_plain_table = on', current_database()); END $$`)
	return startPooler(t, databaseURL, mode, size)
}

func startPooler(t testing.TB, databaseURL, mode string, size int) *bouncer {
	t.Helper()
	binary, err := exec.LookPath("pgbouncer")
	if err != nil {
		binary, err = exec.LookPath("/usr/sbin/pgbouncer")
	}
	require.NoError(t, err, "install Debian's pgbouncer, as scripts/test does")
	u, err := url.Parse(databaseURL)
	require.NoError(t, err)
	password, _ := u.User.Password()

	dir := serverDir(t)
	users := filepath.Join(dir, "users.txt")
	require.NoError(t, os.WriteFile(users, fmt.Appendf(nil, "%q %q\n", u.User.Username(), password), 0o600))
	ownedByServer(t, users)
	listen := servertest.FreePort(t)
	ini := filepath.Join(dir, "pgbouncer.ini")
	b := &bouncer{addr: net.JoinHostPort("127.0.0.1", listen)}
	b.configure = func(server string) {
		host, port, err := net.SplitHostPort(server)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(ini, fmt.Appendf(nil, `
[databases]
* = host=%s port=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %s
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %s
pool_mode = %s
default_pool_size = %d
server_login_retry = 1
`, host, port, listen, users, mode, size), 0o600))
	}
	b.configure(u.Host)
	ownedByServer(t, ini)
	args := []string{ini}
	if os.Geteuid() == 0 { // it refuses to run as root
		args = []string{"-u", serverAccount(t).Username, ini}
	}
	b.Process = Start(t, exec.Command(binary, args...))
	u.Host = b.addr
	query := u.Query()
	query.Del("options") // PgBouncer takes no startup parameters that it does not know
	query.Set("sslmode", "disable")
	u.RawQuery = query.Encode()
	servertest.Until(t, "PgBouncer listens", func() bool {
		require.True(t, b.Running(), b.Log())
		conn, err := net.Dial("tcp", b.addr)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	b.url = u.String()
	return b
}

// pointTo makes PgBouncer use another server for new connections.
func (b *bouncer) pointTo(server string) {
	b.configure(server)
	b.Signal(syscall.SIGHUP)
}

// redelivered publishes positions and lets a worker before this one have read them: they go by
// upsert, which is a prepared statement.
func (r *rig) redelivered(n int) {
	r.t.Helper()
	r.publish(n)
	name := r.config.Streams[0]
	require.NoError(r.t, r.redis.XGroupCreate(r.t.Context(), name, r.config.Group, "0").Err())
	require.NoError(r.t, r.redis.XReadGroup(r.t.Context(), &redis.XReadGroupArgs{
		Group: r.config.Group, Consumer: r.config.Consumer, Streams: []string{name, ">"}, Count: int64(n),
	}).Err())
}

// In transaction mode PgBouncer gives every transaction whatever server connection is free, and a
// statement prepared on another one is not there, or one of another client is. The worker says
// which setting makes it work, loses nothing, and with that setting it works.
func TestPooler_InTransactionMode(t *testing.T) {
	t.Parallel()
	r := newRigOn(t, servertest.Redis(t), ownDatabase(t, servertest.NewPostgres(t)))
	through := pooler(t, r.database, "transaction", 2)
	r.redelivered(2000)
	r.config.Database.URL = through
	w := r.start()
	const setting = "add default_query_exec_mode=cache_describe to DATABASE_URL"
	servertest.Until(t, "it is said which setting makes it work", func() bool {
		for _, line := range w.lines(held) {
			if hint, _ := line["hint"].(string); len(hint) > 0 {
				require.Contains(t, hint, setting)
				return true
			}
		}
		return false
	})
	require.True(t, w.alive())
	w.Kill()
	require.Empty(t, r.letters())

	r.config.Database.URL = servertest.WithParameter(t, through, "default_query_exec_mode", "cache_describe")
	w = r.start()
	servertest.Until(t, "ready", w.ready)
	r.publish(2000)
	r.awaitDrained()
	require.Zero(t, w.metric("processor_write_errors_total"), "%v", w.lines(held))
	w.stop()
	r.requireExact()
}

// In session mode it is like no pooler at all.
func TestPooler_InSessionMode(t *testing.T) {
	t.Parallel()
	r := newRigOn(t, servertest.Redis(t), ownDatabase(t, servertest.NewPostgres(t)))
	r.redelivered(2000)
	r.config.Database.URL = pooler(t, r.database, "session", 20)
	w := r.start()
	servertest.Until(t, "ready", w.ready)
	r.publish(2000)
	r.awaitDrained()
	require.Zero(t, w.metric("processor_write_errors_total"))
	require.Equal(t, ledger{Read: 4000, Inserted: 4000, Balanced: true}, w.stop())
	r.requireExact()
}
