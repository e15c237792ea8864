package faultkit

import (
	"context"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
	"processor/internal/stream"
)

// password has what a URL must escape.
const password = "hunter2/zebra@giraffe ostrich%walrus"

// passwordParts are what is left of the password wherever it is cut apart, however it is spelled.
func passwordParts() []string { return []string{"hunter2", "zebra", "giraffe", "ostrich", "walrus"} }

// No command tells a password, whatever is wrong with its servers and its URLs.
func TestSecret_IsNeverPrinted(t *testing.T) {
	binary := build(t)
	guarded := servertest.NewRedis(t, sandbox.RedisOptions{})
	client, err := stream.Connect(guarded.URL())
	require.NoError(t, err)
	require.NoError(t, client.Do(t.Context(), "CONFIG", "SET", "requirepass", "another").Err())
	require.NoError(t, client.Close())
	hangingRedis, hangingRedisURL := ProxyFor(t, servertest.Redis(t))
	hangingRedis.Swallow()
	database := servertest.Database(t)
	hangingPostgres, hangingDatabase := ProxyFor(t, database)
	hangingPostgres.Swallow()
	servers := map[string]struct {
		redis, database string
		hang            bool
	}{
		"refused":        {withPassword(t, "redis://127.0.0.1:1"), withPassword(t, "postgres://127.0.0.1:1/d?sslmode=disable"), false},
		"no answer":      {withPassword(t, hangingRedisURL), withPassword(t, hangingDatabase), true},
		"wrong password": {withPassword(t, guarded.URL()), withPassword(t, database), false},
		"unknown host":   {withPassword(t, "redis://nowhere.invalid:6379"), withPassword(t, "postgres://nowhere.invalid/d"), true},
		"no URL":         {"redis://user:" + password + "@127.0.0.1:1", "postgres://user:" + password + "@127.0.0.1:1/d", false},
		"other scheme":   {withPassword(t, "http://127.0.0.1:1"), withPassword(t, "mysql://127.0.0.1:1/d"), false},
		"bad parameters": {withPassword(t, "redis://127.0.0.1:1?dial_timeout=x"), withPassword(t, "postgres://127.0.0.1:1/d?connect_timeout=x&sslmode=y"), false},
		"TLS refused":    {withPassword(t, strings.Replace(servertest.Redis(t), "redis:", "rediss:", 1)), withPassword(t, "postgres://127.0.0.1:1/d?sslmode=verify-full"), true},
	}
	commands := [][]string{
		{"run"}, {"migrate", "up"}, {"migrate", "down"}, {"migrate", "status"}, {"publish", "--count=1"}, {"status"}, {"doctor"},
		{"dlq", "list"}, {"dlq", "show", "1-1"}, {"dlq", "replay"}, {"dlq", "drop", "--yes"},
		{"bench", "--rounds=1", "--positions=1", "--skip-latency"},
	}
	for name, s := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			processes := make([]*Process, len(commands))
			for i, args := range commands {
				cmd := exec.Command(binary, args...)
				cmd.Env = append(os.Environ(), "REDIS_URL="+s.redis, "DATABASE_URL="+s.database,
					"BENCH_REDIS_URL="+s.redis, "BENCH_DATABASE_URL="+s.database, "HTTP_ADDR=127.0.0.1:0", "LOG_LEVEL=debug")
				processes[i] = Start(t, cmd)
			}
			patience, enough := context.WithTimeout(t.Context(), 2*time.Second)
			defer enough()
			for i, p := range processes {
				what := strings.Join(commands[i], " ")
				waits := s.hang || commands[i][0] == "run"
				if waits {
					p.endAfter(patience)
				}
				state := p.Wait()
				for _, part := range passwordParts() {
					require.NotContains(t, p.Log(), part, what)
				}
				if !waits {
					require.False(t, state.Success(), "%s\n%s", what, p.Log())
					require.NotEmpty(t, p.Log(), what)
				}
			}
		})
	}
}

// endAfter ends a process in order once ctx has ended, and soon after that by force.
func (p *Process) endAfter(ctx context.Context) {
	select {
	case <-p.done:
		return
	case <-ctx.Done():
	}
	p.Signal(syscall.SIGTERM) // it may say something more
	select {
	case <-p.done:
	case <-time.After(200 * time.Millisecond):
		p.Kill()
	}
}

func withPassword(t testing.TB, rawURL string) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	require.NoError(t, err)
	u.User = url.UserPassword("operator", password)
	return u.String()
}
