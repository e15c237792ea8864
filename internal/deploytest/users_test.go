package deploytest

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
)

var passwordPattern = regexp.MustCompile(` >\S+ `)

// The lines of the page load on every version of Redis that is supported, by ACL SETUSER and as an ACL file.
func TestRedisUsers_LinesLoad(t *testing.T) {
	shown := blocks(read(t, "docs/redis-users.md"), "acl")
	require.Len(t, shown, 1)
	server := servertest.NewRedis(t, sandbox.RedisOptions{})
	options, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	client := redis.NewClient(options)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	lines := strings.Split(strings.TrimSpace(shown[0]), "\n")
	require.Len(t, lines, 5)
	for _, line := range lines {
		words := strings.Fields(line)
		require.Equal(t, "user", words[0])
		if words[1] == "default" {
			continue // it would lock this client out
		}
		args := []any{"ACL", "SETUSER"}
		for _, word := range words[1:] {
			args = append(args, word)
		}
		require.NoError(t, client.Do(t.Context(), args...).Err(), line)
	}

	require.Equal(t, "started", startWithACL(t, shown[0]))
	require.Contains(t, startWithACL(t, shown[0]+"user x on +nonsense\n"), "nonsense")
}

// startWithACL starts a Redis with an ACL file, ends it, and returns "started", or what it printed.
func startWithACL(t *testing.T, users string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "users.acl")
	require.NoError(t, os.WriteFile(file, []byte(users), 0o600))
	cmd := exec.CommandContext(t.Context(), "redis-server", "--port", "0", "--save", "", "--aclfile", file,
		"--unixsocket", filepath.Join(t.TempDir(), "s"))
	cmd.Dir = t.TempDir()
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	printed, end := "", error(nil)
	for lines := bufio.NewScanner(out); lines.Scan(); printed += lines.Text() + "\n" {
		if strings.Contains(lines.Text(), "Ready to accept connections") || strings.Contains(lines.Text(), "ready to accept connections") {
			printed, end = "started", cmd.Process.Signal(os.Interrupt)
			break
		}
	}
	require.NoError(t, end)
	_, err = io.Copy(io.Discard, out)
	require.NoError(t, err)
	_ = cmd.Wait()
	return printed
}

// The page's command makes of its lines the file that compose uses and the test of all rights tries.
func TestRedisUsers_AreThoseThatAreTried(t *testing.T) {
	page := read(t, "docs/redis-users.md")
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "users.acl"), []byte(blocks(page, "acl")[0]), 0o600))
	commands := blocks(page, "sh")
	require.Len(t, commands, 1)
	cmd := exec.CommandContext(t.Context(), "bash", "-euc", commands[0])
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	now, err := os.ReadFile(filepath.Join(dir, "users.acl"))
	require.NoError(t, err)
	plain := func(text string) string { return passwordPattern.ReplaceAllString(text, " >PASSWORD ") }
	require.Equal(t, plain(read(t, "deploy/compose/redis-users.acl")), plain(string(now)))
}
