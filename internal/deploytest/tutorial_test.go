package deploytest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
)

// step is a block of commands of a page, with the output that the page shows below it.
type step struct{ commands, output string }

// steps are a page's blocks of commands in order. A block of text right below is the output.
func steps(page string) (all []step) {
	for _, m := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?").FindAllStringSubmatch(page, -1) {
		all = append(all, step{m[1], m[2]})
	}
	return all
}

// shell is one bash that runs a page's blocks one after the other.
type shell struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

func newShell(t *testing.T, dir string) *shell {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "bash", "-o", "pipefail")
	cmd.Dir = dir
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = cmd.Stdout
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		// What a failed step left in the background.
		_, _ = io.WriteString(in, "kill $(jobs -p) 2>/dev/null; wait; exit\n")
		_ = in.Close()
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	})
	return &shell{t, in, bufio.NewReader(out)}
}

// run returns what the commands print, and whether all of them succeed.
func (s *shell) run(commands string) (string, bool) {
	s.t.Helper()
	const end = "end of the block:"
	// In the shell itself, for variables and jobs; the trap notes a command that fails.
	_, err := fmt.Fprintf(s.in, "failed=0; trap 'failed=1' ERR\n%s\ntrap - ERR; echo; echo '%s' $failed\n", commands, end)
	require.NoError(s.t, err)
	printed := ""
	for {
		line, err := s.out.ReadString('\n')
		require.NoError(s.t, err, "%s\n%s", commands, printed)
		if code, ends := strings.CutPrefix(line, end); ends {
			return strings.TrimSpace(printed), strings.TrimSpace(code) == "0"
		}
		printed += line
	}
}

// Every command of the tutorial is run, but those that install Debian's servers, as scripts/test does.
func TestTutorial_CommandsWork(t *testing.T) {
	page := read(t, "docs/tutorial.md")
	all := steps(page)
	require.Contains(t, all[0].commands, "apt-get install -y redis-server postgresql curl\n")
	require.Equal(t, 2, strings.Count(all[0].commands, "\n"))

	redis := servertest.NewRedis(t, sandbox.RedisOptions{})
	postgres := servertest.NewPostgres(t)
	dir := t.TempDir()
	port := servertest.FreePort(t)
	changed := strings.NewReplacer(
		"REDIS_URL=redis://127.0.0.1:6379/0\n", "REDIS_URL="+redis.URL()+"\n",
		"SUPERUSER=postgres://postgres:tutorial@127.0.0.1:5432\n", "SUPERUSER="+strings.SplitN(postgres.URL("x"), "/x", 2)[0]+"\n",
		"bin/processor", filepath.Join(dir, "processor"),
		"worker.log", filepath.Join(dir, "worker.log"),
		"localhost:8080", "127.0.0.1:"+port,
	)
	s := newShell(t, root)
	_, ok := s.run("export HTTP_ADDR=127.0.0.1:" + port)
	require.True(t, ok)
	outputs := 0
	for _, step := range all[1:] {
		commands := changed.Replace(step.commands)
		if step.output == "" {
			printed, ok := s.run(commands)
			require.True(t, ok, "%s\n%s", commands, printed)
			requireSeen(t, step.commands, printed)
			continue
		}
		outputs++
		var printed string
		servertest.Until(t, commands+" prints what the page shows", func() bool {
			printed, ok = s.run(commands)
			return ok && printed == strings.TrimSpace(step.output)
		})
	}
	require.Equal(t, 5, outputs)
}

// requireSeen checks what the page says of an output that it does not show.
func requireSeen(t *testing.T, commands, printed string) {
	t.Helper()
	for command, wanted := range map[string][]string{
		"bin/processor status":   {"stream tutorial:t", "length        1\n", "lag 0, pending 0", "device my-tracker"},
		"bin/processor dlq list": {"missing_key", "my-tracker", "1 dead letter"},
		"tail -n 1 worker.log":   {`"inserted":1`, `"merged":1`, `"dead_lettered":1`},
		"readyz\n":               {`"ready":true`},
	} {
		if !strings.Contains(commands, command) || strings.Contains(commands, "--fail") {
			continue
		}
		for _, text := range wanted {
			require.Contains(t, printed+"\n", text, commands)
		}
	}
}

func TestSteps_ReadsBlocksAndOutputs(t *testing.T) {
	require.Equal(t, []step{{"a\n", ""}, {"b\nc\n", "1\n"}, {"d\n", ""}},
		steps("```sh\na\n```\n\nText.\n\n```sh\nb\nc\n```\n\n```text\n1\n```\n\n```sh\nd\n```\nText.\n\n```text\nno output\n```\n"))
}

func TestShell_NoticesWhatFails(t *testing.T) {
	s := newShell(t, t.TempDir())
	printed, ok := s.run("x=1\necho $x")
	require.Equal(t, "1 true", fmt.Sprint(printed, " ", ok))
	_, ok = s.run("false\ntrue")
	require.False(t, ok)
	printed, ok = s.run("echo $x | cat")
	require.Equal(t, "1 true", fmt.Sprint(printed, " ", ok))
}
