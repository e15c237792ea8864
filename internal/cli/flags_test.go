package cli

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"processor/internal/deadletter"
	"processor/internal/observe"
)

// leaves are all commands that can be run. Their flags are without --help, which is kong's own and has
// no variable.
func leaves(t *testing.T) []*kong.Node {
	parser, err := kong.New(&commands{}, mappers()...)
	require.NoError(t, err)
	return parser.Model.Leaves(false)
}

// path is a command as it is typed: "dlq list".
func path(command *kong.Node) string {
	if command.Parent.Type == kong.ApplicationNode {
		return command.Name
	}
	return path(command.Parent) + " " + command.Name
}

func TestFlags_AreExplained(t *testing.T) {
	named := map[string]string{} // flag of each variable
	for _, command := range leaves(t) {
		require.Regexp(t, `^[A-Z].*\.$`, command.Help, path(command))
		for _, argument := range command.Positional {
			require.Regexp(t, `^[A-Z].*\.$`, argument.Help, "%s %s", path(command), argument.Summary())
		}
		for _, flag := range command.Flags {
			what := path(command) + " --" + flag.Name
			require.Len(t, flag.Envs, 1, what)
			require.Regexp(t, `^[A-Z]+(_[A-Z]+)*$`, flag.Envs[0], what)
			if known, ok := named[flag.Envs[0]]; ok {
				require.Equal(t, known, flag.Name, "%s is of two flags", flag.Envs[0])
			}
			named[flag.Envs[0]] = flag.Name
			require.Regexp(t, `^[A-Z0-9].*\.$`, flag.Help, what)
			if !flag.IsBool() {
				require.NotEmpty(t, flag.PlaceHolder, "%s: which unit", what)
			}
			if flag.HasDefault {
				require.Contains(t, flag.Help, "(default: "+flag.Default, what)
			}
		}
	}
}

// What can be told apart by flags is shown by example.
func TestHelp_ShowsExamples(t *testing.T) {
	for _, command := range leaves(t) {
		if len(command.Flags) == 0 && len(command.Positional) == 0 {
			continue
		}
		var out, stderr bytes.Buffer
		args := append(strings.Fields(path(command)), "--help")
		require.Equal(t, ExitOK, Main(t.Context(), args, observe.BuildInfo{}, Streams{Out: &out, Err: &stderr}))
		require.Regexp(t, `(?m)^Examples?\b.*:\n\n(    .*\n)*?    .*\bprocessor `+path(command)+`\b`, out.String())
		require.Empty(t, stderr.String())
	}
}

// badValue is what a flag must refuse. Its errors say what is allowed.
type badValue struct {
	values  []string
	allowed string
	secret  bool // the error does not show the value, or quotes it
}

// badValues are those of flags without bounds. A flag that takes any text has none.
func badValues() map[string]badValue {
	return map[string]badValue{
		"redis-url": {[]string{
			"http://u:s3cret@h", "u:s3cret@h", "redis://u:s3cret@h:port", "redis://:a@s3cret@h", "redis://:s3cret/b@h/0", "redis://:a#s3cret@h",
			"redis://:a?s3cret@h", "redis://:50%s3cret@h", "redis://:a s3cret@h", "redis://s3cret@h/x", "redis://:s3cret@h?db=x",
			"redis://:s3cret@h?addr=h2&dial_timeout=x", "redis://:s3cret@h?master_name=m&sentinel_password=s3cret&db=x",
			"redis://h/s3cret", "redis://h?password=s3cret", "redis://h?s3cret", "redis://h?addr=u:s3cret", "redis://h#s3cret", "redis://u%3As3cret@h",
		}, "wanted: redis://", true},
		"redis-url-file": {[]string{"not-there", "redis://:s3cret@h"}, "file", true},
		"database-url": {[]string{
			"mysql://u:s3cret@h/d", "host=h password=s3cret", "host=h password='a s3cret'", "postgres://u:s3cret/b@h/d", "postgres://u:a@s3cret@h/d",
			"postgres://u:a#s3cret@h/d", "postgres://u:a?s3cret@h/d", "postgres://u:50%s3cret@h/d", "postgres://u:a s3cret@h/d",
			"postgres://u:s3cret@h/d?sslmode=loose", "postgres://u:s3cret@h:port/d", "postgres://u:s3cret@h/d?pool_max_conns=s3", "postgres://h/d?sslrootcert=s3cret", "postgres://h/d?service=s3cret", "postgres://h/d#s3cret",
			"postgres://h/d?user=u:s3cret", "postgres://u%3As3cret@h/d", "postgres://h1:s3cret,h2/d", "postgres://h/d/s3cret", "postgres://h/d?host=u:s3cret",
		}, "wanted: postgres://", true},
		"database-url-file": {[]string{"not-there", "postgres://u:s3cret@h/d"}, "file", true},
		"only":              {[]string{"", "drains", "drain,,raw", "drain raw"}, "one or several of raw, drain, ", false},
		"executable":        {[]string{"./not-there", "."}, "executable", false},
		"redis-stream":      {[]string{"", " ", "a b", "a\tb", "a\u202eb", "a\u009bb", "\ufeffa", "a\xff"}, "wanted: telemetry:t", true},
		"redis-group":       {[]string{"", " ", "a b", " a", "a\n", "a\u00a0b"}, "wanted: processor", true},
		"http-addr":         {[]string{"", "8080", ":port", ":99999"}, "wanted: :8080 or 127.0.0.1:8080", false},
		"pprof-addr":        {[]string{"6060", "localhost", ":99999"}, "wanted: :8080 or 127.0.0.1:8080", false},
		"addr":              {[]string{"", "8090", "127.0.0.1", ":99999"}, "wanted: :8080 or 127.0.0.1:8080", false},
		"token":             {[]string{"s3cret", "fifteen-s3cret!"}, "wanted: 16 to 256", true},
		"token-file":        {[]string{"not-there", "https://s3cret"}, "file", true},
		"host":              {[]string{"", "https://a.example", "a.example:8090", "*.example"}, "", false},
		"log-level":         {[]string{"", "loud", "INFO", "info+1", "4"}, "one of debug, info, warn, error", false},
		"reason":            {[]string{"", "bad_luck", "not_json,,not_json"}, "one or several of not_json, missing_key, ", false},
		"device":            {[]string{"", "a,,b"}, "device ids separated by commas", false},
		"as":                {[]string{"", "root", "worker,operator"}, "one of worker, operator", false},
		"by":                {[]string{"", "day", "reason,device"}, "one of reason, device, hour", false},
		"at":                {[]string{"", "10:03", "2025-06-01", "2025-06-01T12:00:00"}, "a time such as 2025-06-01T12:00:00Z", false},
		"redis-consumer":    {[]string{" ", "a b", "a\u202e"}, "wanted: processor-1", true}, // empty, it is the host's name
	}
}

// beyond is what is just out of bounds, and no number at all.
func beyond(t *testing.T, low, high string) []string {
	values := []string{"", "nonsense", "NaN", "Inf"}
	for bound, step := range map[string]int{low: -1, high: 1} {
		if n, err := strconv.Atoi(bound); err == nil {
			values = append(values, strconv.Itoa(n+step))
			continue
		}
		d, err := time.ParseDuration(bound)
		require.NoError(t, err)
		values = append(values, (d + time.Duration(step)).String())
	}
	return values
}

func badValuesOf(t *testing.T, flag *kong.Flag) badValue {
	if flag.IsBool() {
		return badValue{values: []string{"", "maybe"}, allowed: "true, yes, 1, false, no or 0"}
	}
	if low, high, bounded := strings.Cut(flag.Tag.Get("range"), ".."); bounded {
		return badValue{values: beyond(t, low, high), allowed: " from " + low + " to " + high}
	}
	bad, known := badValues()[flag.Name]
	require.True(t, known, "which values does --%s refuse?", flag.Name)
	if flag.Name == "redis-stream" && flag.IsSlice() {
		bad.values = append(bad.values, "a,,b", "a,b,a", "a, b,a ", "a,", ",", "a,b c")
	}
	return bad
}

// Whichever command, whichever flag, from wherever the value came: one line with all that helps.
func TestFlags_RefuseBadValues(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel() // what is not refused does nothing
	tried := 0
	try := func(t *testing.T, command *kong.Node, flag *kong.Flag, bad badValue, value string, args ...string) {
		args = append(strings.Fields(path(command)), args...)
		if slices.ContainsFunc(command.Positional, func(p *kong.Positional) bool { return p.Required }) {
			args = append(args, "1-1")
		}
		var out, stderr bytes.Buffer
		code := Main(ended, args, observe.BuildInfo{}, Streams{Out: &out, Err: &stderr})
		require.Equal(t, ExitUsage, code, "%q %s", args, &stderr)
		require.Regexp(t, `^processor: [^\n]+\n$`, stderr.String())
		require.Contains(t, stderr.String(), "--"+flag.Name)
		require.Contains(t, stderr.String(), flag.Envs[0])
		require.Contains(t, stderr.String(), bad.allowed)
		require.NotContains(t, stderr.String(), "s3cret")
		if !bad.secret {
			require.Contains(t, stderr.String(), value)
		}
		require.Empty(t, out.String())
		tried++
	}
	for _, command := range leaves(t) {
		t.Run(path(command), func(t *testing.T) {
			t.Setenv("REDIS_URL", "redis://127.0.0.1:1")
			t.Setenv("DATABASE_URL", "postgres://127.0.0.1:1/d")
			for _, flag := range command.Flags {
				bad := badValuesOf(t, flag)
				var also []string
				if url, isFile := strings.CutSuffix(flag.Name, "-file"); isFile {
					also = append(also, "--"+url+"=")
				}
				if strings.HasPrefix(flag.Name, "database") && path(command) == "dlq replay" {
					also = append(also, "--dry-run") // else it needs no database
				}
				for _, value := range bad.values {
					try(t, command, flag, bad, value, append(also, "--"+flag.Name+"="+value)...)
				}
				before, was := os.LookupEnv(flag.Envs[0])
				for _, value := range bad.values {
					require.NoError(t, os.Setenv(flag.Envs[0], value))
					try(t, command, flag, bad, value, also...)
				}
				if was {
					require.NoError(t, os.Setenv(flag.Envs[0], before))
				} else {
					require.NoError(t, os.Unsetenv(flag.Envs[0]))
				}
			}
		})
	}
	require.Greater(t, tried, 500)
}

// White space around the commas of a list is no part of its values, wherever the list comes from.
func TestFlags_TrimLists(t *testing.T) {
	parse := func(t *testing.T, args ...string) *commands {
		c := &commands{}
		parser, err := kong.New(c, mappers()...)
		require.NoError(t, err)
		_, err = parser.Parse(args)
		require.NoError(t, err)
		return c
	}
	want := []string{"telemetry:t", "telemetry:u"}
	require.Equal(t, want, parse(t, "run", "--redis-stream= telemetry:t ,\ttelemetry:u\n").Run.Streams)
	require.Equal(t, want, parse(t, "run", "--redis-stream=telemetry:t", "--redis-stream= telemetry:u").Run.Streams)
	require.Equal(t, deviceIDs{"a", "b c"}, parse(t, "dlq", "list", "--device=a, b c").Dlq.List.Device)
	require.Equal(t, []deadletter.Reason{deadletter.NotJSON, deadletter.MissingKey}, parse(t, "dlq", "list", "--reason=not_json, missing_key").Dlq.List.Reason)
	t.Setenv("REDIS_STREAM", "telemetry:t, telemetry:u")
	require.Equal(t, want, parse(t, "run").Run.Streams)
	require.Equal(t, want, parse(t, "doctor").Doctor.Streams)
	require.Equal(t, want, parse(t, "status").Status.Streams)
	require.Equal(t, want, parse(t, "dlq", "drop").Dlq.Drop.Streams)
}

// A shell cuts an argument without quotes at its spaces, and the parser would name what follows.
func TestFlags_HideTheRestOfAURLThatTheShellCut(t *testing.T) {
	for _, args := range [][]string{
		{"status", "--database-url", "postgres://u:a", "s3cret@h/d"},
		{"status", "--redis-url=redis://:a", "s3cret@h"},
		{"dlq", "show", "redis://:a", "s3cret@h"},
	} {
		var out, stderr bytes.Buffer
		require.Equal(t, ExitUsage, Main(t.Context(), args, observe.BuildInfo{}, Streams{Out: &out, Err: &stderr}))
		require.NotContains(t, out.String()+stderr.String(), "s3cret")
		require.Contains(t, stderr.String(), "in quotes")
	}
}
