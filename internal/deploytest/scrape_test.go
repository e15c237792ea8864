package deploytest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/cli"
	"processor/internal/observe"
	"processor/internal/servertest"
)

// scrapeJob is not "processor": rules and dashboard must not depend on the job's name.
const scrapeJob = "pods"

// startPrometheus runs a server that scrapes worker every second under the rules of deploy/, and
// returns its address.
func startPrometheus(t *testing.T, worker string) string {
	t.Helper()
	path, err := exec.LookPath("prometheus")
	require.NoError(t, err, "prometheus is missing: run scripts/test --setup, or install Debian's prometheus")
	var ruleFile []string
	for _, file := range ruleFiles {
		absolute, err := filepath.Abs(filepath.Join(root, file))
		require.NoError(t, err)
		ruleFile = append(ruleFile, absolute)
	}
	config, err := json.Marshal(map[string]any{ // JSON is YAML
		"global":     map[string]string{"scrape_interval": "1s", "evaluation_interval": "1s"},
		"rule_files": ruleFile,
		"scrape_configs": []any{map[string]any{
			"job_name": scrapeJob, "static_configs": []any{map[string]any{"targets": []string{worker}}},
		}},
	})
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "prometheus.yml"), config, 0o600))

	cmd := exec.CommandContext(t.Context(), path, "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = deadline
	log, logged := io.Pipe()
	cmd.Stderr = logged
	require.NoError(t, cmd.Start())
	addresses, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		address := ""
		for lines := bufio.NewScanner(log); lines.Scan(); {
			if m := listening.FindStringSubmatch(lines.Text()); m != nil {
				address = m[1]
			}
			if strings.Contains(lines.Text(), "Server is ready") { // it listens before it is ready
				addresses <- address
				break
			}
		}
		_, _ = io.Copy(io.Discard, log) // so that the server never blocks on its log
	}()
	// The server ends with the test's context, which is done before the cleanup.
	t.Cleanup(func() {
		_ = cmd.Wait()
		require.NoError(t, logged.Close())
		<-ended
	})
	select {
	case address := <-addresses:
		return address
	case <-time.After(deadline):
		require.Fail(t, "Prometheus does not start")
		return ""
	}
}

// listening matches the log line with Prometheus's listening address.
var listening = regexp.MustCompile(`Listening on"? address=(\S+)`)

type promRule struct {
	Name, Health, LastError, State string
}

// ask sends a request to Prometheus's API and decodes the result into data.
func ask(t *testing.T, prometheus, path string, data any) {
	t.Helper()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	body := get(t, prometheus, path)
	require.NoError(t, json.Unmarshal([]byte(body), &answer), body)
	require.Equal(t, "success", answer.Status, "%s: %s", path, answer.Error)
}

func promRules(t *testing.T, prometheus string) (all []promRule) {
	t.Helper()
	var data struct{ Groups []struct{ Rules []promRule } }
	ask(t, prometheus, "/api/v1/rules", &data)
	for _, group := range data.Groups {
		all = append(all, group.Rules...)
	}
	return all
}

// series returns the number of series that an expression currently has.
func series(t *testing.T, prometheus, expr string) int {
	t.Helper()
	var data struct{ Result []any }
	ask(t, prometheus, "/api/v1/query?query="+url.QueryEscape(expr), &data)
	return len(data.Result)
}

// emptyWhileHealthy are panels without data while the worker is healthy.
var emptyWhileHealthy = []string{
	"panel Time until trimming loses entries A", // no MAXLEN
	"panel Lost in A",
	"panel What fails A",
	"panel What fails B",
	"panel Write errors by class B",
	"rule job_stream:processor_stream_trim_reaches_unread_seconds:min",
	"rule job:processor_batches_refused:group1m",
	"rule job_instance_stream:processor_trimmed_unread:increase15m",
	"rule job_instance_stream:processor_lost_pending:increase15m",
	"rule job_instance:processor_positions_dead_lettered:increase15m",
	"panel Not ready, and Redis errors C",
	"panel Memory B", // no GOMEMLIMIT
}

// A real Prometheus scrapes a real worker, evaluates every rule, and has data for every panel.
func TestPrometheus_ScrapesAWorkerUnderLoad(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	exit, _, problem := processor(t, "migrate", "up", "--database-url", as(t, s.database, "processor_migrate", "demo-migrate"))
	require.Equal(t, cli.ExitOK, exit, problem)
	address, _ := s.run()
	prometheus := startPrometheus(t, address)

	ctx, cancel := context.WithCancel(t.Context())
	published := make(chan int, 1)
	go func() {
		published <- cli.Main(ctx, []string{"publish", "--rate", "500", "--devices", "50",
			"--redis-url", as(t, s.redis, "tcp-ingestion", "demo-publisher")}, observe.BuildInfo{}, cli.Streams{Out: io.Discard, Err: io.Discard})
	}()
	t.Cleanup(func() {
		cancel()
		require.Equal(t, cli.ExitOK, <-published)
	})

	read := fmt.Sprintf(`job_stream:processor_entries_read:rate5m{job=%q, stream=%q} > 0`, scrapeJob, streamName)
	servertest.Until(s.t, "the rate of what is read", func() bool { return series(t, prometheus, read) == 1 })
	servertest.Until(s.t, "every rule has been evaluated", func() bool {
		return !slices.ContainsFunc(promRules(t, prometheus), func(r promRule) bool { return r.Health == "unknown" })
	})
	evaluated := promRules(t, prometheus)
	require.Len(t, evaluated, len(rules(t)))
	for _, r := range evaluated {
		require.Equal(t, "ok", r.Health, "%s: %s", r.Name, r.LastError)
		require.NotEqual(t, "firing", r.State, r.Name)
	}
	var shown []string
	for where, expr := range expressions(t) {
		switch expr = grafanaVariables.Replace(expr); {
		case strings.HasPrefix(where, "rule Processor"):
			require.Zero(t, series(t, prometheus, expr), where)
		case slices.Contains(emptyWhileHealthy, where):
			if series(t, prometheus, expr) > 0 {
				shown = append(shown, where)
			}
		default:
			servertest.Until(s.t, where+" has data: "+expr, func() bool { return series(t, prometheus, expr) > 0 })
		}
	}
	require.Empty(t, shown, "these panels have data: remove them from emptyWhileHealthy")
}
