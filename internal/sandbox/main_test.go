package sandbox_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"processor/internal/sandbox"
)

// childVariable, if set, makes this test binary the parent process that TestServer_DiesWithItsParent kills.
const childVariable = "SANDBOX_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		serveForever()
		return
	}
	goleak.VerifyTestMain(m)
}

// serveForever starts servers and prints their process ids.
func serveForever() {
	ctx := context.Background()
	redis, err := sandbox.StartRedis(ctx, sandbox.RedisOptions{})
	if err != nil {
		log.Fatal(err)
	}
	postgres, err := sandbox.StartPostgres(ctx, sandbox.PostgresOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(redis.PID(), postgres.PID())
	select {}
}

// setTempDir gives the test a directory for temporary files that other users can enter. It returns a
// function that lists the directory.
func setTempDir(t *testing.T) (list func() []string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sandbox-test-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Setenv("TMPDIR", dir)
	return func() []string {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		names := []string{}
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
		return names
	}
}

// processRuns reports whether a process with this id runs. A process that has ended has no executable,
// even if it has not been reaped.
func processRuns(pid int) bool {
	_, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil
}
