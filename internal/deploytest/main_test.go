// Package deploytest tests the files around the binary against the code: deploy/, the compose file, the
// Dockerfile, the workflow and the docs for operators. It contains only tests.
package deploytest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"processor/internal/cli"
	"processor/internal/observe"
	"processor/internal/servertest"
	"processor/internal/service"
)

func TestMain(m *testing.M) { servertest.Main(m) }

// root is the repository's root.
const root = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(t, err)
	return string(content)
}

// files lists the files below dir whose names end in one of the suffixes, as paths relative to the root.
func files(t *testing.T, dir string, suffixes ...string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		for _, suffix := range suffixes {
			if strings.HasSuffix(path, suffix) {
				name, err := filepath.Rel(root, path)
				found = append(found, name)
				return err
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.NotEmpty(t, found, dir)
	return found
}

// documents reads all YAML documents of a file into T. It converts them to JSON first, whose decoder
// ignores the case of field names.
func documents[T any](t *testing.T, path string) []T {
	t.Helper()
	var all []T
	decoder := yaml.NewDecoder(strings.NewReader(read(t, path)))
	for {
		var document any
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			require.NotEmpty(t, all, "%s holds no document", path)
			return all
		}
		require.NoError(t, err, path)
		text, err := json.Marshal(document)
		require.NoError(t, err, path)
		var one T
		require.NoError(t, json.Unmarshal(text, &one), path)
		all = append(all, one)
	}
}

// variables maps the worker's environment variables to their defaults, from the struct that kong fills.
func variables(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	collect(reflect.TypeFor[service.Config](), found)
	require.Contains(t, found, "REDIS_URL")
	require.Contains(t, found, "DATABASE_URL_FILE")
	return found
}

func collect(t reflect.Type, into map[string]string) {
	for i := range t.NumField() {
		field := t.Field(i)
		if name := field.Tag.Get("env"); name != "" {
			into[name] = field.Tag.Get("default")
		}
		if field.Type.Kind() == reflect.Struct {
			collect(field.Type, into)
		}
	}
}

// httpPort is the port that the worker listens on unless it is told otherwise.
func httpPort(t *testing.T) int {
	t.Helper()
	_, text, found := strings.Cut(variables(t)["HTTP_ADDR"], ":")
	require.True(t, found)
	port, err := strconv.Atoi(text)
	require.NoError(t, err)
	return port
}

func shutdownTimeout(t *testing.T) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(variables(t)["SHUTDOWN_TIMEOUT"])
	require.NoError(t, err)
	return d
}

// processor runs a command line of the binary in this process and returns its exit code and output.
func processor(t *testing.T, args ...string) (exit int, out, err string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	exit = cli.Main(t.Context(), args, observe.BuildInfo{Version: "test"}, cli.Streams{Out: &stdout, Err: &stderr})
	return exit, stdout.String(), stderr.String()
}

// requireCommand fails if the binary rejects the command line. It adds --help, so that the command is not
// executed.
func requireCommand(t *testing.T, args ...string) {
	t.Helper()
	exit, out, err := processor(t, append(args, "--help")...)
	require.Equal(t, cli.ExitOK, exit, "processor %s: %s", strings.Join(args, " "), err)
	for _, arg := range args {
		if flag, _, _ := strings.Cut(arg, "="); strings.HasPrefix(flag, "--") {
			require.Regexp(t, `\s`+flag+`[=\s]`, out, "processor %s", strings.Join(args, " "))
		}
	}
}

func TestRequireCommand_CommandLineIsChecked(t *testing.T) {
	requireCommand(t, "publish", "--rate=1000")
	for _, args := range [][]string{{"nonsense"}, {"migrate", "sideways"}} {
		exit, _, _ := processor(t, append(args, "--help")...)
		require.NotEqual(t, cli.ExitOK, exit, args)
	}
	_, out, _ := processor(t, "publish", "--help")
	require.NotRegexp(t, `\s--nonsense[=\s]`, out)
}

// promtool runs Debian's promtool in the root of the repository.
func promtool(t *testing.T, stdin string, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	require.NoError(t, err, "promtool is missing: run scripts/test --setup, or install Debian's prometheus")
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = root
	cmd.Stdin = strings.NewReader(stdin)
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "promtool %s\n%s", strings.Join(args, " "), output)
}
