package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"processor/internal/sandbox"
	"processor/internal/servertest"
	"processor/internal/signals"
	"processor/internal/stream"
)

// binary is what TestMain built. It is package state because TestMain cannot hand tests a value.
var binary string

func TestMain(m *testing.M) {
	signals.Release() // importing main catches them
	dir, err := os.MkdirTemp("", "processor-test-")
	if err == nil {
		binary = filepath.Join(dir, "processor")
		err = build(binary)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		_ = os.RemoveAll(dir)
		os.Exit(1)
	}
	servertest.Main(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
		os.Exit(code)
	}))
}

// build makes the binary as the Dockerfile does, and with the race detector where the tests have it:
// a race ends the process with exit code 66.
func build(path string) error {
	args := []string{"build", "-buildvcs=false", "-ldflags", "-X main.version=v1.2.3 -X main.revision=0123abc", "-o", path}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "-race" {
				args = append(args, "-race="+s.Value)
			}
		}
	}
	if out, err := exec.Command("go", append(args, ".")...).CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

const (
	patience = time.Minute // for what takes a second on an idle machine
	secret   = "s3cret"
	// Nobody listens there.
	noRedis    = "redis://user:" + secret + "@127.0.0.1:1/0"
	noPostgres = "postgres://user:" + secret + "@127.0.0.1:1/database"
)

// process is one run of the binary.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	out   servertest.Log
	err   servertest.Log
	ended chan struct{}
}

// start runs the binary with these environment variables ("NAME=value") and no others. The test's
// end kills it where nothing else did.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(binary, args...), ended: make(chan struct{})}
	p.cmd.Env = append([]string{"GORACE=atexit_sleep_ms=0"}, env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // ProcessState tells all that the error does
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
	})
	return p
}

// exit waits for the process to end by itself and returns its code, -1 where a signal killed it.
func (p *process) exit(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		require.FailNow(p.t, "the process did not end", "within %s; it said:\n%s", within, &p.err)
		panic("unreachable")
	}
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(s))
}

// line is a line of the log, as far as the tests look at it.
type line struct {
	Level, Msg, HTTP string
	Ledger           ledger
}

type ledger struct {
	Read, Inserted, Merged, Unchanged uint64
	DeadLettered                      uint64 `json:"dead_lettered"`
	InFlight                          uint64 `json:"in_flight"`
	Balanced                          bool
}

// lines returns the log so far. A line that is not JSON fails the test.
func (p *process) lines() []line {
	p.t.Helper()
	text := p.err.String()
	var all []line
	for row := range strings.Lines(text[:strings.LastIndex(text, "\n")+1]) {
		var l line
		require.NoError(p.t, json.Unmarshal([]byte(row), &l), "not a line of JSON: %s", row)
		all = append(all, l)
	}
	return all
}

// logged waits for the line with the message.
func (p *process) logged(msg string) line {
	p.t.Helper()
	var found line
	servertest.Until(p.t, "line "+msg, func() bool {
		for _, l := range p.lines() {
			if l.Msg == msg {
				found = l
			}
		}
		return found.Msg == msg
	})
	return found
}

// get asks the HTTP server of processor run.
func (p *process) get(path string) (code int, body string) {
	p.t.Helper()
	request, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "http://"+p.logged("started").HTTP+path, nil)
	require.NoError(p.t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(p.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(p.t, err)
	return response.StatusCode, string(text)
}

// outcome is all that a command leaves behind.
type outcome struct {
	code     int
	out, err string
}

func run(t *testing.T, env []string, args ...string) outcome {
	t.Helper()
	p := start(t, env, args...)
	return outcome{p.exit(patience), p.out.String(), p.err.String()}
}

// complains runs a command that fails with the code, prints exactly one line, on standard error and
// without the password, and returns the line.
func complains(t *testing.T, code int, env []string, args ...string) string {
	t.Helper()
	o := run(t, env, args...)
	require.Equal(t, code, o.code, o.err)
	require.Empty(t, o.out)
	require.Regexp(t, `^processor: [^\n]+\n$`, o.err)
	require.NotContains(t, o.err, secret)
	return o.err
}

// rig is a stream and a database of the test's own.
type rig struct {
	t        *testing.T
	client   redis.UniversalClient
	conn     *pgx.Conn
	stream   string
	database string
	env      []string
}

// newRig leaves the database without the schema.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, stream: servertest.StreamName(t), database: servertest.Database(t)}
	var err error
	r.client, err = stream.Connect(servertest.Redis(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.client.Close()) })
	r.conn = servertest.Connect(t, r.database)
	if servertest.HasTimescaleDB(t) {
		r.sql("CREATE EXTENSION IF NOT EXISTS timescaledb")
	}
	r.env = []string{
		"REDIS_URL=" + servertest.Redis(t), "DATABASE_URL=" + r.database, "REDIS_STREAM=" + r.stream,
		"REDIS_CONSUMER=me", "HTTP_ADDR=127.0.0.1:0", "BATCH_SIZE=500",
	}
	return r
}

// newWorkingRig has the schema.
func newWorkingRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	require.Zero(t, run(t, r.env, "migrate", "up").code)
	return r
}

func (r *rig) sql(statement string) {
	r.t.Helper()
	_, err := r.conn.Exec(r.t.Context(), statement)
	require.NoError(r.t, err)
}

func (r *rig) count(query string) (n int) {
	r.t.Helper()
	require.NoError(r.t, r.conn.QueryRow(r.t.Context(), query).Scan(&n))
	return n
}

func (r *rig) publish(n int) {
	r.t.Helper()
	o := run(r.t, r.env, "publish", "--rate=0", "--count", strconv.Itoa(n))
	require.Zero(r.t, o.code, o.err)
	require.Regexp(r.t, fmt.Sprintf(`^published %d positions to %s in `, n, regexp.QuoteMeta(r.stream)), o.out)
}

// state is where the positions are.
type state struct {
	rows, pending, unread, dead int
}

func (r *rig) state() state {
	r.t.Helper()
	s := state{rows: r.count("SELECT count(*) FROM positions")}
	length, err := r.client.XLen(r.t.Context(), r.stream).Result()
	require.NoError(r.t, err)
	s.unread = int(length)
	groups, err := r.client.XInfoGroups(r.t.Context(), r.stream).Result()
	require.NoError(r.t, err)
	for _, g := range groups {
		s.pending, s.unread = int(g.Pending), int(g.Lag)
	}
	dead, err := r.client.XLen(r.t.Context(), stream.DeadKey(r.stream)).Result()
	require.NoError(r.t, err)
	s.dead = int(dead)
	return s
}

func (r *rig) reaches(s state) {
	r.t.Helper()
	servertest.Until(r.t, fmt.Sprintf("%+v", s), func() bool { return r.state() == s })
}

// consumers are the names that the group knows.
func (r *rig) consumers() []string {
	r.t.Helper()
	infos, err := r.client.XInfoConsumers(r.t.Context(), r.stream, "processor").Result()
	require.NoError(r.t, err)
	names := []string{}
	for _, c := range infos {
		names = append(names, c.Name)
	}
	return names
}

const (
	before  = 5_000
	backlog = 15_000
)

// midDrain starts a worker that stores the first positions and is then held, by a lock on the table,
// in the middle of writing batches of a backlog. release lifts the lock.
func (r *rig) midDrain() (worker *process, release func()) {
	r.t.Helper()
	r.publish(before)
	require.Equal(r.t, state{unread: before}, r.state())
	worker = start(r.t, r.env, "run")
	r.reaches(state{rows: before})

	r.sql("BEGIN")
	r.sql("LOCK TABLE ONLY positions IN SHARE MODE")
	r.publish(backlog)
	servertest.Until(r.t, "a writer that waits for the lock", func() bool {
		return r.count("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'positions'::regclass") > 0
	})
	held := r.state()
	require.Positive(r.t, held.pending)
	require.Equal(r.t, state{rows: before, pending: held.pending, unread: backlog - held.pending}, held)
	return worker, func() { r.sql("ROLLBACK") }
}

// finishes starts a worker again, under the same consumer name, which does all that is left, and
// returns what it counted.
func (r *rig) finishes() ledger {
	r.t.Helper()
	worker := start(r.t, r.env, "run")
	r.reaches(state{rows: before + backlog})
	worker.signal(syscall.SIGTERM)
	return r.stops(worker)
}

// stops waits for the end that SIGTERM brings and returns the ledger of the last line.
func (r *rig) stops(worker *process) ledger {
	r.t.Helper()
	require.Zero(r.t, worker.exit(5*time.Second), &worker.err)
	require.Empty(r.t, r.consumers(), "a clean stop takes its name away")
	lines := worker.lines()
	last := lines[len(lines)-1]
	require.Equal(r.t, "stopped", last.Msg)
	return last.Ledger
}

func TestMigrate_TellsByItsExitCode(t *testing.T) {
	r := newRig(t)
	const first, second = "20261123000001_create_positions.sql", "20261123000002_positions_columnstore.sql"
	missing := func(n int) string {
		return fmt.Sprintf("processor: migrations not applied: %d; run processor migrate up\n", n)
	}
	none := outcome{1, "[ ] " + first + "\n[ ] " + second + "\n", missing(2)}
	one := outcome{1, "[X] " + first + "\n[ ] " + second + "\n", missing(1)}
	all := outcome{0, "[X] " + first + "\n[X] " + second + "\n", ""}

	require.Equal(t, none, run(t, r.env, "migrate", "status"))
	require.Equal(t, all, run(t, r.env, "migrate", "up"))
	require.Equal(t, all, run(t, r.env, "migrate", "status"))
	require.Equal(t, all, run(t, r.env, "migrate", "up"), "nothing to do")
	require.Equal(t, outcome{0, one.out, ""}, run(t, r.env, "migrate", "down"))
	require.Equal(t, one, run(t, r.env, "migrate", "status"))
}

func TestMigrate_RefusesAPlainTableByAccident(t *testing.T) {
	r := newRig(t)
	r.sql("DROP EXTENSION IF EXISTS timescaledb")
	u, err := url.Parse(r.database)
	require.NoError(t, err)
	query := u.Query()
	query.Del("options")
	u.RawQuery = query.Encode()

	complaint := complains(t, 1, []string{"DATABASE_URL=" + u.String()}, "migrate", "up")
	require.Contains(t, complaint, "TimescaleDB is not enabled in database")
	require.Contains(t, complaint, "run CREATE EXTENSION timescaledb in it")
	require.Contains(t, complaint, "options=-c%20processor.allow_plain_table%3Don")
	require.Zero(t, r.count("SELECT count(*) FROM pg_class WHERE relname = 'positions'"))

	plain, err := sandbox.PlainTableURL(u.String())
	require.NoError(t, err)
	require.Zero(t, run(t, []string{"DATABASE_URL=" + plain}, "migrate", "up").code)
	require.Equal(t, 1, r.count("SELECT count(*) FROM pg_class WHERE relname = 'positions'"))
}

func TestMigrate_SaysInOneLineThatNobodyAnswers(t *testing.T) {
	for _, command := range []string{"up", "down", "status"} {
		require.Contains(t, complains(t, 1, []string{"DATABASE_URL=" + noPostgres}, "migrate", command), "connection refused")
	}
}

func TestRun_MakesEveryPositionARow(t *testing.T) {
	r := newWorkingRig(t)
	r.publish(3_000)
	require.Equal(t, state{unread: 3_000}, r.state())
	worker := start(t, r.env) // run is the default command
	r.reaches(state{rows: 3_000})
	servertest.Until(t, "ready", func() bool { code, _ := worker.get("/readyz"); return code == http.StatusOK })
	require.Equal(t, []string{"me"}, r.consumers())

	worker.signal(syscall.SIGTERM)
	require.Equal(t, ledger{Read: 3_000, Inserted: 3_000, Balanced: true}, r.stops(worker))
	require.Equal(t, state{rows: 3_000}, r.state())
	require.Empty(t, worker.out.String())
}

// What is in flight at SIGTERM is finished, the rest was never read: nothing is half done.
func TestRun_StopsInTheMiddleOfADrain(t *testing.T) {
	r := newWorkingRig(t)
	worker, release := r.midDrain()
	began := time.Now()
	worker.signal(syscall.SIGTERM)
	worker.logged("stopping: no more reads; finishing the batches in flight")
	release()
	first := r.stops(worker)
	require.Less(t, time.Since(began), 5*time.Second)

	stopped := r.state()
	require.Greater(t, stopped.rows, before)
	require.Less(t, stopped.rows, before+backlog)
	require.Equal(t, state{rows: stopped.rows, unread: before + backlog - stopped.rows}, stopped)
	require.Equal(t, ledger{Read: uint64(stopped.rows), Inserted: uint64(stopped.rows), Balanced: true}, first)

	rest := uint64(stopped.unread)
	require.Equal(t, ledger{Read: rest, Inserted: rest, Balanced: true}, r.finishes())
	require.Equal(t, state{rows: before + backlog}, r.state())
}

func TestRun_FinishesWhatAKilledProcessLeft(t *testing.T) {
	r := newWorkingRig(t)
	worker, release := r.midDrain()
	worker.signal(syscall.SIGKILL)
	require.Equal(t, -1, worker.exit(patience))
	left := r.state()
	require.Equal(t, before, left.rows)
	require.Positive(t, left.pending)
	require.Equal(t, backlog, left.pending+left.unread)
	require.Equal(t, []string{"me"}, r.consumers())
	release()

	// A batch may have been committed after its process was gone: then it is found unchanged.
	last := r.finishes()
	require.Equal(t, ledger{Read: backlog, Inserted: last.Inserted, Unchanged: backlog - last.Inserted, Balanced: true}, last)
	require.Equal(t, state{rows: before + backlog}, r.state())
}

func TestRun_WaitsForServersThatAreDown(t *testing.T) {
	worker := start(t, []string{"REDIS_URL=" + noRedis, "DATABASE_URL=" + noPostgres, "HTTP_ADDR=127.0.0.1:0", "LOG_LEVEL=debug"}, "run")
	type check struct {
		OK    bool
		Error string
	}
	var ready struct {
		Ready  bool
		Checks map[string]check
	}
	var body string
	servertest.Until(t, "every dependency was asked", func() bool {
		var code int
		code, body = worker.get("/readyz")
		require.Equal(t, http.StatusServiceUnavailable, code)
		require.NoError(t, json.Unmarshal([]byte(body), &ready))
		return strings.Count(body, "not checked yet") == 1
	})
	require.False(t, ready.Ready)
	for name, problem := range map[string]string{
		"redis": "connection refused", "postgres": "connection refused",
		"schema": "not checked yet", // a server that is away says nothing about the schema
	} {
		require.False(t, ready.Checks[name].OK, name)
		require.Contains(t, ready.Checks[name].Error, problem, name)
	}
	code, alive := worker.get("/healthz")
	require.Equal(t, http.StatusOK, code, alive)

	worker.signal(syscall.SIGTERM)
	require.Zero(t, worker.exit(5*time.Second))
	require.Equal(t, "stopped", worker.lines()[len(worker.lines())-1].Msg)
	require.NotContains(t, body+alive+worker.out.String()+worker.err.String(), secret)
}

func TestRun_RefusesATakenPort(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	addr := listener.Addr().String()
	complaint := complains(t, 1, []string{"REDIS_URL=" + noRedis, "DATABASE_URL=" + noPostgres, "HTTP_ADDR=" + addr}, "run")
	require.Contains(t, complaint, "listen on "+addr+": bind: address already in use")
	require.Contains(t, complaint, "--http-addr or HTTP_ADDR")
}

func TestRun_RefusesABadSetting(t *testing.T) {
	file := func(content string) string {
		path := filepath.Join(t.TempDir(), "url")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	const (
		redisURL    = "REDIS_URL=" + noRedis
		databaseURL = "DATABASE_URL=" + noPostgres
	)
	tests := map[string]struct {
		env  []string
		args []string
		want []string
	}{
		"nothing at all":       {nil, nil, []string{"--redis-url (REDIS_URL): is not set", "REDIS_URL_FILE"}},
		"no Redis":             {[]string{databaseURL}, []string{"run"}, []string{"--redis-url (REDIS_URL): is not set"}},
		"no database":          {[]string{redisURL}, []string{"run"}, []string{"--database-url (DATABASE_URL): is not set", "DATABASE_URL_FILE"}},
		"Redis twice":          {[]string{redisURL, "REDIS_URL_FILE=" + file(noRedis), databaseURL}, nil, []string{"--redis-url (REDIS_URL)", "REDIS_URL_FILE", "one of the two"}},
		"database twice":       {[]string{redisURL, "DATABASE_URL_FILE=" + file(noPostgres), databaseURL}, nil, []string{"--database-url (DATABASE_URL)", "DATABASE_URL_FILE", "one of the two"}},
		"empty file":           {[]string{databaseURL, "REDIS_URL_FILE=" + file(" \n")}, nil, []string{"--redis-url-file (REDIS_URL_FILE)", "is empty"}},
		"missing file":         {[]string{redisURL, "DATABASE_URL_FILE=not-there"}, nil, []string{"--database-url-file (DATABASE_URL_FILE)", "not-there", "no such file"}},
		"file of a bad URL":    {[]string{databaseURL, "REDIS_URL_FILE=" + file("redis://u:"+secret+"@h:port/0\n")}, nil, []string{"REDIS_URL", "wanted: redis://"}},
		"bad port of Redis":    {[]string{databaseURL, "REDIS_URL=redis://u:" + secret + "@h:port/0"}, nil, []string{"--redis-url (REDIS_URL)", "wanted: redis://"}},
		"bad scheme of Redis":  {[]string{databaseURL, "REDIS_URL=http://u:" + secret + "@h:1/0"}, nil, []string{"--redis-url (REDIS_URL)", "http", "wanted: redis://"}},
		"slash in password":    {[]string{databaseURL, "REDIS_URL=redis://u:1/" + secret + "@h:1/0"}, nil, []string{"--redis-url (REDIS_URL)", "%2F"}},
		"question in password": {[]string{redisURL, "DATABASE_URL=postgres://u:1?" + secret + "@h:1/d"}, nil, []string{"--database-url (DATABASE_URL)", "%3F"}},
		"bad port of database": {[]string{redisURL}, []string{"run", "--database-url=postgres://u:" + secret + "@h:port/d"}, []string{"--database-url (DATABASE_URL)", "wanted: postgres://"}},
		"bad scheme":           {[]string{redisURL}, []string{"run", "--database-url=mysql://u:" + secret + "@h/d"}, []string{"--database-url (DATABASE_URL)", "mysql", "wanted: postgres://"}},
		"bad parameter":        {[]string{redisURL}, []string{"run", "--database-url=postgres://u:" + secret + "@h/d?sslmode=nope"}, []string{"--database-url (DATABASE_URL)", "sslmode"}},
		"exec mode":            {[]string{redisURL, databaseURL + "?default_query_exec_mode=exec"}, nil, []string{"--database-url (DATABASE_URL)", "cache_describe"}},
		"simple protocol":      {[]string{redisURL, databaseURL + "?default_query_exec_mode=simple_protocol"}, nil, []string{"--database-url (DATABASE_URL)", "cache_describe"}},
		"libpq string":         {[]string{redisURL, "DATABASE_URL=host=h user=u password=" + secret + " dbname=d"}, nil, []string{"--database-url (DATABASE_URL)", "wanted: postgres://"}},
		"no URL at all":        {[]string{databaseURL, "REDIS_URL=u:" + secret + "@h"}, nil, []string{"--redis-url (REDIS_URL)", "wanted: redis://"}},
		"level by flag":        {[]string{redisURL, databaseURL}, []string{"run", "--log-level=loud"}, []string{`--log-level: "loud"`, "LOG_LEVEL", "debug, info, warn, error"}},
		"level by variable":    {[]string{redisURL, databaseURL, "LOG_LEVEL=loud"}, nil, []string{`--log-level: "loud"`, "LOG_LEVEL", "debug, info, warn, error"}},
		"unknown flag":         {[]string{redisURL, databaseURL}, []string{"run", "--nonsense"}, []string{"unknown flag \"--nonsense\""}},
		"unknown command":      {[]string{redisURL, databaseURL}, []string{"nonsense"}, []string{"unknown command \"nonsense\""}},
		"unknown subcommand":   {[]string{databaseURL}, []string{"migrate", "sideways"}, []string{"unknown command \"sideways\""}},
		"half a command":       {[]string{databaseURL}, []string{"migrate"}, []string{`"up", "down", "status"`}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			complaint := complains(t, 2, test.env, test.args...)
			for _, want := range test.want {
				require.Contains(t, complaint, want)
			}
		})
	}
}

func TestVersion_IsTheOneThatWasBuilt(t *testing.T) {
	require.Equal(t, outcome{0, "processor v1.2.3 (revision 0123abc, " + runtime.Version() + ")\n", ""}, run(t, nil, "version"))
}

func TestHelp_ExplainsEveryCommand(t *testing.T) {
	commands := []string{
		"run", "migrate up", "migrate down", "migrate status", "publish", "demo", "status", "trace",
		"dlq list", "dlq show", "dlq replay", "dlq drop", "console", "doctor", "bench", "version", "help", "completion",
	}
	overview := run(t, nil, "--help")
	require.Zero(t, overview.code, overview.err)
	require.Empty(t, overview.err)
	var listed []string
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z]+(?: [a-z]+)?)  `).FindAllStringSubmatch(overview.out, -1) {
		listed = append(listed, m[1])
	}
	require.Equal(t, commands, listed)
	for _, command := range commands {
		help := run(t, nil, append(strings.Fields(command), "--help")...)
		require.Zero(t, help.code, help.err)
		require.Empty(t, help.err)
		require.Regexp(t, `^Usage: processor `+command+`\b`, help.out)
	}
}

// A shell asks by running the program without arguments, which else is the worker.
func TestCompletion_AnswersAndRunsNothing(t *testing.T) {
	servers := []string{"REDIS_URL=" + noRedis, "DATABASE_URL=" + noPostgres, "HTTP_ADDR=127.0.0.1:0"}
	for line, want := range map[string]string{
		"processor dl":                    "dlq\n",
		"processor run --writ":            "--write-timeout\n--writers\n",
		"processor run --log-level i":     "info\n",
		"processor dlq list --reason not": "not_json\n",
		"processor migrate up --rubbish":  "",
		"processor migrate ":              "down\nstatus\nup\n",
		"processor run":                   "run\n",
	} {
		o := run(t, append(servers, "COMP_LINE="+line, "COMP_POINT="+strconv.Itoa(len(line))))
		o.out = sortLines(o.out)
		require.Equal(t, outcome{0, want, ""}, o, line)
	}
	o := run(t, append(servers, "COMP_LINE=processor run", "COMP_POINT=0"))
	require.Zero(t, o.code, o.err)
	require.Empty(t, o.err)
}

func sortLines(text string) string {
	return strings.Join(slices.Sorted(strings.SplitAfterSeq(text, "\n")), "")
}

func TestCompletion_PrintsTheCodeOfAShell(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		o := run(t, nil, "completion", shell)
		require.Zero(t, o.code, o.err)
		require.Empty(t, o.err)
		require.Contains(t, o.out, binary)
	}
	require.Contains(t, complains(t, 2, nil, "completion", "tcsh"), `must be one of "bash","zsh","fish" but got "tcsh"`)
	require.Contains(t, complains(t, 2, nil, "completion"), `expected "<shell>"`)

	bash := `source <("$0" completion bash); complete -p processor`
	registered, err := exec.Command("bash", "-c", bash, binary).Output()
	require.NoError(t, err)
	require.Regexp(t, `^complete -o bashdefault -o default -C '?`+regexp.QuoteMeta(binary)+`'? processor\n$`, string(registered))
}

// A signal that comes as early as the process can take one, long before main, ends it in order.
func TestRun_SignalBeforeMain(t *testing.T) {
	for i := range 20 {
		s := []os.Signal{syscall.SIGTERM, syscall.SIGINT}[i%2]
		worker := start(t, []string{
			"GODEBUG=inittrace=1", "REDIS_URL=" + noRedis, "DATABASE_URL=" + noPostgres, "HTTP_ADDR=127.0.0.1:0",
		}, "run")
		trap := "init processor/internal/signals "
		servertest.Until(t, "signals are caught", func() bool { return strings.Contains(worker.err.String(), trap) })
		worker.signal(s)
		require.Zero(t, worker.exit(patience), &worker.err)
		require.Contains(t, worker.err.String(), `"msg":"stopped"`)
	}
	// Nor does it end another command by the signal, which would be neither of its exit codes.
	for _, args := range [][]string{
		{"status"}, {"status", "--json"}, {"doctor"}, {"migrate", "up"}, {"migrate", "status"}, {"publish", "--count=1"}, {"dlq", "list"}, {"dlq", "drop", "--yes"},
	} {
		command := start(t, []string{"GODEBUG=inittrace=1", "REDIS_URL=" + noRedis, "DATABASE_URL=" + noPostgres}, args...)
		servertest.Until(t, "signals are caught", func() bool { return strings.Contains(command.err.String(), "init processor/internal/signals ") })
		command.signal(syscall.SIGTERM)
		require.Equal(t, 1, command.exit(patience), "%s: %s", args, &command.err)
		require.NotContains(t, command.out.String()+command.err.String(), "start Redis", "no server is to blame")
	}
	// It is caught before what takes long.
	o := run(t, []string{"GODEBUG=inittrace=1"}, "version")
	require.Zero(t, o.code)
	require.Less(t, strings.Index(o.err, "init processor/internal/signals "), strings.Index(o.err, "init reflect "))
}
