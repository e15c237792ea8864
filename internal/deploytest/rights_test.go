package deploytest

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/cli"
	"processor/internal/observe"
	"processor/internal/sandbox"
	"processor/internal/servertest"
)

const (
	streamName = "telemetry:t"
	deadName   = "{telemetry:t}:dead"
	deadline   = time.Minute
)

// site is a Redis and a PostgreSQL server with the users and roles of deploy/.
type site struct {
	t        *testing.T
	redis    string // URLs, for urlAs
	database string
	admin    *redis.Client
	owner    *pgx.Conn
}

func newSite(t *testing.T) *site {
	s := &site{t: t}
	s.redis = servertest.NewRedis(t, sandbox.RedisOptions{AppendOnly: true}).URL()
	s.applyACL()

	postgres := servertest.NewPostgres(t)
	require.NoError(t, postgres.CreateDatabase(t.Context(), "telemetry"))
	s.database = postgres.URL("telemetry")
	var err error
	s.owner, err = pgx.Connect(t.Context(), s.database)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.owner.Close(context.WithoutCancel(t.Context()))) })
	if postgres.HasTimescaleDB() {
		s.sql("CREATE EXTENSION IF NOT EXISTS timescaledb")
	} else {
		s.database, err = sandbox.PlainTableURL(s.database)
		require.NoError(t, err)
	}
	s.sql(strings.ReplaceAll(read(t, "deploy/postgres/roles.sql"), `:"DBNAME"`, "telemetry"))
	s.sql(read(t, "deploy/compose/passwords.sql"))
	return s
}

// applyACL sets the users of the file one by one, so that an error names the user.
func (s *site) applyACL() {
	options, err := redis.ParseURL(s.redis)
	require.NoError(s.t, err)
	first := redis.NewClient(options)
	version := regexp.MustCompile(`redis_version:(\d+)\.(\d+)`).FindStringSubmatch(first.Info(s.t.Context(), "server").Val())
	require.NotNil(s.t, version)
	require.NoError(s.t, first.Do(s.t.Context(), "ACL", "SETUSER", "admin", "on", ">admin", "~*", "&*", "+@all").Err())
	require.NoError(s.t, first.Close())

	options.Username, options.Password = "admin", "admin"
	s.admin = redis.NewClient(options)
	s.t.Cleanup(func() { require.NoError(s.t, s.admin.Close()) })
	old := version[1] == "7" && (version[2] == "0" || version[2] == "1")
	for line := range strings.Lines(read(s.t, "deploy/compose/redis-users.acl")) {
		args := []any{"ACL", "SETUSER"}
		for _, word := range strings.Fields(line)[1:] {
			if old && word == "+client|setinfo" {
				continue // unknown before 7.2
			}
			args = append(args, word)
		}
		require.NoError(s.t, s.admin.Do(s.t.Context(), args...).Err(), line)
	}
}

func (s *site) sql(statements string) {
	s.t.Helper()
	_, err := s.owner.Exec(s.t.Context(), statements)
	require.NoError(s.t, err)
}

// as returns the URL with another user.
func as(t *testing.T, rawURL, user, password string) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	require.NoError(t, err)
	u.User = url.UserPassword(user, password)
	return u.String()
}

// flags returns the flags with the URLs of the servers, for a user of Redis and the worker's role.
func (s *site) flags(user, password string) []string {
	return []string{
		"--redis-url", as(s.t, s.redis, user, password),
		"--database-url", as(s.t, s.database, "processor", "demo-worker"),
	}
}

func (s *site) publish(count, seed string) {
	s.t.Helper()
	exit, _, err := processor(s.t, "publish", "--redis-url", as(s.t, s.redis, "tcp-ingestion", "demo-publisher"),
		"--rate", "0", "--devices", "10", "--count", count, "--seed", seed, "--max-len", "500000")
	require.Equal(s.t, cli.ExitOK, exit, err)
}

func (s *site) rows() (n int) {
	require.NoError(s.t, s.owner.QueryRow(s.t.Context(), "SELECT count(*) FROM positions").Scan(&n))
	return n
}

func (s *site) pending() int64 {
	return s.admin.XPending(s.t.Context(), streamName, "processor").Val().Count
}

// refused returns the commands that Redis has denied to any user since its start (ACL LOG).
func (s *site) refused() []any {
	entries, err := s.admin.Do(s.t.Context(), "ACL", "LOG").Slice()
	require.NoError(s.t, err)
	return entries
}

// run starts a worker. It returns its HTTP address and a function that stops it and waits for its end.
func (s *site) run() (address string, stop func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	logs, w := io.Pipe()
	addresses := make(chan string, 1)
	go watchForAddress(logs, addresses)
	done := make(chan int, 1)
	args := append([]string{"run", "--http-addr", "127.0.0.1:0", "--claim-idle", "1s", "--redis-consumer", "worker"}, s.flags("processor", "demo-worker")...)
	go func() {
		code := cli.Main(ctx, args, observe.BuildInfo{Version: "test"}, cli.Streams{Out: io.Discard, Err: w})
		done <- code
		_ = w.Close()
	}()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case code := <-done:
				require.Equal(s.t, cli.ExitOK, code)
			case <-time.After(deadline):
				require.Fail(s.t, "the worker does not stop")
			}
		})
	}
	s.t.Cleanup(stop)
	select {
	case address = <-addresses:
	case <-time.After(deadline):
		require.Fail(s.t, "the worker does not start")
	}
	return address, stop
}

// watchForAddress reads the log to its end, so that its writer never blocks.
func watchForAddress(logs io.Reader, addresses chan<- string) {
	for decoder := json.NewDecoder(logs); ; {
		var line struct{ Msg, HTTP string }
		if err := decoder.Decode(&line); err != nil {
			_, _ = io.Copy(io.Discard, logs)
			return
		}
		if line.Msg == "started" {
			addresses <- line.HTTP
		}
	}
}

func get(t *testing.T, address, path string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	require.NoError(t, err)
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	return string(body)
}

// The whole life of a stream with the privileges of deploy/: they suffice, and Redis denies no command.
func TestRights_AreEnoughForEverything(t *testing.T) {
	s := newSite(t)
	exit, _, problem := processor(t, "migrate", "up", "--database-url", as(t, s.database, "processor_migrate", "demo-migrate"))
	require.Equal(t, cli.ExitOK, exit, problem)

	// Entries are stored, and dead-lettered by the script.
	_, stop := s.run()
	s.publish("200", "1")
	s.addRubbish()
	servertest.Until(s.t, "200 rows and a dead letter", func() bool {
		return s.rows() == 200 && s.admin.XLen(t.Context(), deadName).Val() == 1
	})

	// A missing group is recreated.
	require.NoError(t, s.admin.XGroupDestroy(t.Context(), streamName, "processor").Err())
	s.publish("100", "2")
	servertest.Until(s.t, "300 rows", func() bool { return s.rows() == 300 })

	// Pending entries of a removed consumer are claimed.
	stop()
	consumers, err := s.admin.XInfoConsumers(t.Context(), streamName, "processor").Result()
	require.NoError(t, err)
	require.Empty(t, consumers, "the worker has left the group")
	s.publish("50", "3")
	taken, err := s.admin.XReadGroup(t.Context(), &redis.XReadGroupArgs{
		Group: "processor", Consumer: "gone", Streams: []string{streamName, ">"}, Count: 50,
	}).Result()
	require.NoError(t, err)
	require.Len(t, taken[0].Messages, 50)
	_, stop = s.run()
	servertest.Until(s.t, "350 rows", func() bool { return s.rows() == 350 })
	stop()

	// Entries that are trimmed unread are counted.
	s.publish("40", "4")
	require.NoError(t, s.admin.XTrimMaxLen(t.Context(), streamName, 10).Err())
	address, stop := s.run()
	servertest.Until(s.t, "30 lost", func() bool {
		return strings.Contains(get(t, address, "/metrics"), `processor_trimmed_unread_total{stream="telemetry:t"} 30`)
	})
	servertest.Until(s.t, "360 rows, all acknowledged", func() bool { return s.rows() == 360 && s.pending() == 0 })

	t.Run("operator", s.operate)
	t.Run("backfill", func(t *testing.T) { s.backfill(t, address) })
	t.Run("promtool likes the scrape", func(t *testing.T) {
		servertest.Until(t, "a look at the stream without a lag", func() bool {
			return strings.Contains(get(t, address, "/metrics"), `processor_stream_catch_up_seconds{stream="telemetry:t"} 0`)
		})
		scrape := get(t, address, "/metrics")
		promtool(t, scrape, "check", "metrics")
		for name := range metrics(t) {
			// Absent while trimming does not reach unread entries, and without a listener.
			absent := name == "processor_stream_trim_reaches_unread_seconds" || strings.HasPrefix(name, "processor_listener_")
			if strings.HasPrefix(name, "processor_") && !absent {
				require.True(t, strings.Contains(scrape, "# TYPE "+name+" "), name)
			}
		}
	})
	t.Run("scaler", func(t *testing.T) {
		scaler := s.client(t, "scaler", "demo-scaler")
		require.NoError(t, scaler.Ping(t.Context()).Err())
		require.NoError(t, scaler.Info(t.Context()).Err()) // KEDA asks for the version before the lag
		require.NoError(t, scaler.XInfoGroups(t.Context(), streamName).Err())
		require.NoError(t, scaler.XPending(t.Context(), streamName, "processor").Err())
	})
	stop()
	require.Empty(t, s.refused(), "ACL LOG")

	t.Run("and no more", s.requireLeast)
}

func (s *site) addRubbish() {
	s.t.Helper()
	require.NoError(s.t, s.client(s.t, "tcp-ingestion", "demo-publisher").
		XAdd(s.t.Context(), &redis.XAddArgs{Stream: streamName, Values: []string{"payload", "rubbish"}}).Err())
}

func (s *site) client(t *testing.T, user, password string) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(as(t, s.redis, user, password))
	require.NoError(t, err)
	client := redis.NewClient(options)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// operate runs the commands of an operator.
func (s *site) operate(t *testing.T) {
	for _, user := range [][]string{s.flags("processor", "demo-worker"), s.flags("operator", "demo-operator")} {
		exit, out, problem := processor(t, append([]string{"status", "--json"}, user...)...)
		require.Equal(t, cli.ExitOK, exit, problem)
		require.Contains(t, out, streamName)
		exit, out, problem = processor(t, append([]string{"dlq", "list"}, user[:2]...)...)
		require.Equal(t, cli.ExitOK, exit, problem)
		require.Contains(t, out, "not_json")
	}
	operator := s.flags("operator", "demo-operator")

	// As in the runbook, in a pod with the worker's URL in a file.
	shown := func(pattern string) []string {
		m := regexp.MustCompile(`(?m)^kubectl exec -it deploy/processor -- /processor (` + pattern + `)$`).
			FindStringSubmatch(oneLine(read(t, "docs/runbook.md")))
		require.NotNil(t, m, pattern)
		return strings.Fields(strings.NewReplacer(
			"redis://operator:PASSWORD@redis:6379/0", operator[1], "rejected_by_database", "not_json").Replace(m[1]))
	}
	secret := filepath.Join(t.TempDir(), "redis-url")
	require.NoError(t, os.WriteFile(secret, []byte(as(t, s.redis, "processor", "demo-worker")+"\n"), 0o600))
	t.Setenv("REDIS_URL_FILE", secret)
	_, out, _ := processor(t, append(shown(`doctor .*`), operator[2:]...)...)
	require.Contains(t, out, "appendfsync")
	require.NotContains(t, out, "could not check")

	replay := shown(`dlq replay .* --dry-run`)
	exit, tried, problem := processor(t, replay...)
	require.Equal(t, cli.ExitOK, exit, problem)
	require.Contains(t, tried, "tried: 0 would pass")

	before := s.admin.XLen(t.Context(), deadName).Val()
	exit, _, problem = processor(t, append(replay[:len(replay)-1], "--yes")...)
	require.Equal(t, cli.ExitOK, exit, problem)
	servertest.Until(s.t, "the invalid entry is dead-lettered again", func() bool {
		return s.admin.XLen(t.Context(), deadName).Val() == before && s.pending() == 0
	})
	t.Setenv("REDIS_URL_FILE", "")
	exit, _, problem = processor(t, append([]string{"dlq", "drop", "--yes"}, operator[:2]...)...)
	require.Equal(t, cli.ExitOK, exit, problem)
	require.Zero(t, s.admin.XLen(t.Context(), deadName).Val())
}

// backfill sets the group back as in docs/backfill.md: every entry is read again, no row changes, and no
// entry is counted as lost.
func (s *site) backfill(t *testing.T, address string) {
	command := regexp.MustCompile(`(?m)^redis-cli --user (\w+) --askpass .*(XGROUP SETID .*)$`).FindStringSubmatch(read(t, "docs/backfill.md"))
	require.NotNil(t, command)
	unchanged := func() string {
		return regexp.MustCompile(`positions_total\{outcome="unchanged"\} \d+`).FindString(get(t, address, "/metrics"))
	}
	rows, before := s.rows(), unchanged()
	var args []any
	for _, word := range strings.Fields(command[2]) {
		args = append(args, word)
	}
	require.NoError(t, s.client(t, command[1], "demo-"+command[1]).Do(t.Context(), args...).Err())
	servertest.Until(s.t, "all of the stream is read again", func() bool {
		group, err := s.admin.XInfoGroups(t.Context(), streamName).Result()
		require.NoError(t, err)
		last, err := s.admin.XRevRangeN(t.Context(), streamName, "+", "-", 1).Result()
		require.NoError(t, err)
		return group[0].LastDeliveredID == last[0].ID && s.pending() == 0
	})
	require.NotEqual(t, before, unchanged())
	require.Equal(t, rows, s.rows())
	require.Contains(t, get(t, address, "/metrics"), `processor_trimmed_unread_total{stream="telemetry:t"} 30`)
}

// requireLeast tries commands that the users do not need: Redis and PostgreSQL must deny them.
func (s *site) requireLeast(t *testing.T) {
	ctx := t.Context()
	worker := s.client(t, "processor", "demo-worker")
	publisher := s.client(t, "tcp-ingestion", "demo-publisher")
	scaler := s.client(t, "scaler", "demo-scaler")
	add := func(key string) *redis.XAddArgs { return &redis.XAddArgs{Stream: key, Values: []string{"a", "b"}} }
	for what, err := range map[string]error{
		"worker publishes":           worker.XAdd(ctx, add(streamName)).Err(),
		"worker deletes the stream":  worker.Del(ctx, streamName).Err(),
		"worker trims":               worker.XTrimMaxLen(ctx, streamName, 0).Err(),
		"worker destroys the group":  worker.XGroupDestroy(ctx, streamName, "processor").Err(),
		"worker deletes the dead":    worker.Del(ctx, deadName).Err(),
		"worker reads another key":   worker.XRange(ctx, "other", "-", "+").Err(),
		"worker reads the settings":  worker.ConfigGet(ctx, "*").Err(),
		"worker flushes":             worker.FlushAll(ctx).Err(),
		"publisher reads":            publisher.XRange(ctx, streamName, "-", "+").Err(),
		"publisher adds dead":        publisher.XAdd(ctx, add(deadName)).Err(),
		"scaler reads the settings":  scaler.ConfigGet(ctx, "*").Err(),
		"scaler reads":               scaler.XRange(ctx, streamName, "-", "+").Err(),
		"default lists the keys":     s.client(t, "default", "").Keys(ctx, "*").Err(),
		"operator destroys a group":  s.client(t, "operator", "demo-operator").XGroupDestroy(ctx, streamName, "processor").Err(),
		"operator deletes a stream":  s.client(t, "operator", "demo-operator").Del(ctx, streamName).Err(),
		"operator changes a setting": s.client(t, "operator", "demo-operator").ConfigSet(ctx, "maxmemory", "1").Err(),
	} {
		require.True(t, redis.IsPermissionError(err), "%s: %v", what, err)
	}

	conn, err := pgx.Connect(ctx, as(t, s.database, "processor", "demo-worker"))
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(ctx))
	for _, statement := range []string{
		"DELETE FROM positions", "TRUNCATE positions", "DROP TABLE positions",
		"CREATE TABLE other ()", "ALTER TABLE positions ADD COLUMN other text",
		"INSERT INTO processor_schema_migrations VALUES ('1')", "UPDATE processor_schema_migrations SET version = '1'",
		"DELETE FROM processor_schema_migrations",
	} {
		_, err := conn.Exec(ctx, statement)
		require.ErrorContains(t, err, "42501", statement)
	}
	_, err = conn.Exec(ctx, "SELECT version FROM processor_schema_migrations")
	require.NoError(t, err, "processor doctor reads it")
	s.sql("GRANT processor_reader TO processor_migrate") // a member, as Directus would be
	for _, block := range regexp.MustCompile("(?s)```sql\n(GRANT.*?)```").FindAllStringSubmatch(read(t, "docs/sql.md"), -1) {
		s.sql(block[1])
	}
	require.Equal(t, 360, s.rows())
}
