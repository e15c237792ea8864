package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/observe"
	"processor/internal/sandbox"
	"processor/internal/servertest"
)

func run1(t *testing.T, args ...string) outcome {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	var out, err bytes.Buffer
	code := Main(ended, args, observe.BuildInfo{Version: "v1"}, Streams{Out: &out, Err: &err})
	return outcome{code, out.String(), err.String()}
}

func TestHelp_IsThatOfTheFlag(t *testing.T) {
	require.Equal(t, run1(t, "--help"), run1(t, "help"))
	require.Contains(t, run1(t, "help").out, "Commands:")
	for _, command := range []string{"status", "dlq", "dlq list", "migrate up"} {
		words := strings.Fields(command)
		want := run1(t, append(words, "--help")...)
		require.Equal(t, ExitOK, want.code)
		require.Equal(t, want, run1(t, append([]string{"help"}, words...)...), command)
	}
	require.Equal(t, outcome{ExitUsage, "", "processor: unknown command \"stauts\": did you mean status?; processor help lists all\n"}, run1(t, "help", "stauts"))
}

func TestVersion_IsAFlagOfEachCommand(t *testing.T) {
	want := run1(t, "version")
	require.Contains(t, want.out, "processor v1")
	require.Equal(t, want, run1(t, "--version"))
	require.Equal(t, want, run1(t, "status", "--version"))
}

func TestMisspelt_SuggestsWhatWasMeant(t *testing.T) {
	for line, want := range map[string]string{
		"stauts":                  `unknown command "stauts": did you mean status?; processor help lists all`,
		"Doctor":                  `unknown command "Doctor": did you mean doctor?; processor help lists all`,
		"replay":                  `unknown command "replay": did you mean dlq replay?; processor help lists all`,
		"dlq lst":                 `unknown command "lst": did you mean list?; processor help lists all`,
		"xyzzy":                   `unknown command "xyzzy"; processor help lists all`,
		"status --redis-ur=x":     `unknown flag "--redis-ur": did you mean --redis-url or --redis-url-file?`,
		"status --stream x":       `unknown flag "--stream": did you mean --redis-stream?`,
		"--writer=1":              `unknown flag "--writer": did you mean --writers?`,
		"run --redis-url x --foo": `unknown flag "--foo"`,
	} {
		require.Equal(t, outcome{ExitUsage, "", "processor: " + want + "\n"}, run1(t, strings.Fields(line)...), line)
	}
}

func TestConnectionErrors_AreOneLineWithTheFix(t *testing.T) {
	t.Setenv("REDIS_URL", "redis://:topsecret@127.0.0.1:1")
	t.Setenv("DATABASE_URL", "postgres://u:topsecret@localhost:1/d")
	r := &rig{t: t}
	for _, c := range []struct{ command, want string }{
		{"migrate up", "connect to migrate: localhost:1 as u: connection refused. Fix: start PostgreSQL, or correct host and port in DATABASE_URL"},
		{"migrate status", "localhost:1 as u: connection refused. Fix: start PostgreSQL"},
		{"publish", "connection refused. Fix: start Redis, or correct host, port and scheme (rediss:// with TLS) in REDIS_URL"},
		{"dlq list", "connection refused. Fix: start Redis"},
		{"trace --device x", "connection refused. Fix: start Redis"},
	} {
		got := r.run(strings.Fields(c.command)...)
		require.Equal(t, ExitFailure, got.code, c.command)
		require.Contains(t, got.err, c.want, c.command)
		require.Equal(t, 1, strings.Count(got.err, "\n"), got.err)
		require.Equal(t, 1, strings.Count(got.err, "Fix: "), got.err)
		require.NotContains(t, got.out+got.err, "topsecret")
	}
}

// Each refusal is said at once with its fix, and publish gives up in the end.
func TestPublish_SaysWhenRedisRefuses(t *testing.T) {
	server := servertest.NewRedis(t, sandbox.RedisOptions{})
	r := &rig{t: t}
	t.Setenv("REDIS_URL", server.URL())
	admin := dial(t, server.URL())
	do := func(command string) {
		var args []any
		for _, word := range strings.Fields(command) {
			args = append(args, word)
		}
		require.NoError(t, admin.Do(t.Context(), args...).Err(), command)
	}
	publish := []string{"publish", "--count=10", "--rate=0", "--retry-for=300ms"}
	require.Equal(t, ExitOK, r.run(publish...).code)
	do("XADD telemetry:t * a b")
	for _, c := range []struct{ cause, code, want, cure string }{
		{"CONFIG SET maxmemory 1", "OOM", "raise maxmemory", "CONFIG SET maxmemory 0"},
		{"REPLICAOF 127.0.0.1 1", "READONLY", "name the primary in REDIS_URL", "REPLICAOF NO ONE"},
		{"CONFIG SET min-replicas-to-write 1", "NOREPLICAS", "min-replicas-to-write", "CONFIG SET min-replicas-to-write 0"},
	} {
		do(c.cause)
		got := r.run(publish...)
		require.Equal(t, ExitFailure, got.code, c.code)
		require.Contains(t, got.out, "published 0 positions")
		require.Equal(t, 2, strings.Count(got.err, "\n"), got.err)
		require.Contains(t, got.err, "processor: not published, trying again: ")
		require.Contains(t, got.err, "processor: gave up after ")
		require.Equal(t, 2, strings.Count(got.err, c.code), got.err)
		require.Equal(t, 2, strings.Count(got.err, c.want), got.err)
		do(c.cure)
		require.Equal(t, ExitOK, r.run(publish...).code, c.code)
	}
	do("ACL SETUSER limited on >pw ~* +ping")
	t.Setenv("REDIS_URL", strings.Replace(server.URL(), "redis://", "redis://limited:pw@", 1))
	got := r.run(publish...)
	require.Equal(t, ExitFailure, got.code)
	require.Contains(t, got.err, "NOPERM")
	require.Contains(t, got.err, "Fix: ACL SETUSER limited (~telemetry:t +xadd)")
}
