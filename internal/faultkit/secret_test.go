package faultkit

import (
	"context"
	"io"
	"net/http"
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
		{"run"}, {"migrate", "up"}, {"migrate", "down"}, {"migrate", "status"}, {"publish", "--count=1"}, {"status"}, {"doctor"}, {"trace", "1-1"},
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

// misplaced are URLs with a password where none belongs, with the base in the place of BASE. Each is tried on servers
// that answer.
func misplaced(base string) map[string]string {
	u, err := url.Parse(base)
	if err != nil {
		return nil
	}
	with := func(parameter string) string {
		other := *u
		other.RawQuery = strings.TrimPrefix(other.RawQuery+"&"+parameter, "&")
		return other.String()
	}
	cut := func(user string) string { return strings.Replace(base, "://", "://"+user, 1) }
	variants := map[string]string{
		"fragment":             base + "#zebra",
		"user with its colon":  strings.Replace(base, u.User.String()+"@", "operator%3Azebra@", 1),
		"two in a list":        strings.Replace(base, "@", ":zebra@h1,operator:zebra@", 1),
		"escape cut short":     cut("operator:zebra%2@"),
		"port of another host": strings.Replace(base, u.Host, "h1:zebra,"+u.Host, 1),
		"path":                 strings.Replace(base, u.Path, "/zebra/zebra", 1),
		"key=value":            "host=127.0.0.1 user=operator password = zebra",
		"key=value in quotes":  "host=127.0.0.1 password='it\\'s zebra' user=operator",
	}
	parameters := []string{ // of PostgreSQL
		"pasword=zebra", "zebra", "zebra=", "passfile=zebra", "user=operator:zebra", "user=operator%3Azebra&passwort=zebra", "service=zebra", "servicefile=zebra",
		"sslrootcert=zebra", "sslmode=zebra", "connect_timeout=zebra", "pool_max_conns=zebra", "options=-c%20my.password%3Dzebra", "options=zebra",
		"statement_timeout=zebra", "search_path=public&my.password=zebra", "port=zebra", "host=operator:zebra", "default_query_exec_mode=zebra",
		"application_name=operator%40zebra",
	}
	if u.Scheme == "redis" {
		parameters = []string{
			"pasword=zebra", "zebra", "zebra=", "password=zebra", "username=operator&protocol=zebra", "db=zebra", "dial_timeout=zebra", "addr=operator:zebra",
			"addr=operator:zebra%40h2:1", "sentinel_password=zebra&master_name=m&dial_timeout=zebra", "client_name=operator%40zebra",
		}
	}
	for _, parameter := range parameters {
		variants[parameter] = with(parameter)
	}
	return variants
}

// A password in the wrong place of a URL is shown by no command, neither where the URL is refused, nor where a server
// refuses it, nor where everything works.
func TestSecret_InTheWrongPlaceIsNeverPrinted(t *testing.T) {
	binary := build(t)
	redis, database := servertest.Redis(t), servertest.Migrated(t)
	try := func(what, redisURL, databaseURL string) {
		t.Run(strings.ReplaceAll(what, "zebra", "x"), func(t *testing.T) {
			t.Parallel()
			start := func(args ...string) *Process {
				cmd := exec.Command(binary, args...)
				cmd.Env = append(os.Environ(), "REDIS_URL="+redisURL, "DATABASE_URL="+databaseURL, "REDIS_STREAM="+servertest.StreamName(t),
					"BENCH_REDIS_URL="+redisURL, "BENCH_DATABASE_URL="+databaseURL, "HTTP_ADDR=127.0.0.1:0", "LOG_LEVEL=debug")
				return Start(t, cmd)
			}
			hidden := func(text string, args ...string) {
				require.NotContains(t, text, "zebra", args)
			}
			commands := [][]string{{"status", "--json"}, {"bench", "--rounds=1", "--positions=1", "--skip-latency"}}
			p := start("status")
			usage := p.Wait().ExitCode() == 2
			hidden(p.Log(), "status")
			if !usage { // else every command checks the URL in the same way
				commands = append(commands, []string{"migrate", "up"}, []string{"migrate", "status"}, []string{"doctor"}, []string{"doctor", "--json"},
					[]string{"publish", "--count=1"}, []string{"dlq", "list"}, []string{"dlq", "replay", "--dry-run"})
			}
			for _, args := range commands {
				p := start(args...)
				p.Wait()
				hidden(p.Log(), args...)
			}
			p = start("run")
			servertest.Until(t, "it has looked at its servers", func() bool {
				return !p.Running() || strings.Contains(p.Log(), "check is failing") || strings.Contains(p.Log(), `"msg":"positions is a `)
			})
			if p.Running() {
				hidden(readyz(t, p), "readyz")
			}
			p.Signal(syscall.SIGTERM)
			p.Wait()
			hidden(p.Log(), "run")
		})
	}
	for name, misplaced := range misplaced(redis) {
		try("redis "+name, misplaced, database)
	}
	for name, misplaced := range misplaced(database) {
		try("postgres "+name, redis, misplaced)
	}
}

// readyz returns what a worker answers there.
func readyz(t testing.TB, p *Process) string {
	t.Helper()
	_, after, _ := strings.Cut(p.Log(), `"http":"`)
	address, _, _ := strings.Cut(after, `"`)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/readyz", nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(body)
}
