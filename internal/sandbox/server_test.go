package sandbox_test

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/servertest"
)

func TestServer_DiesWithItsParent(t *testing.T) {
	setTempDir(t) // for the files that the killed parent leaves
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), childVariable+"=1")
	parent.Stderr = os.Stderr
	stdout, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	t.Cleanup(func() { _ = parent.Process.Kill() }) // for a test that failed before it did so

	var redis, postgres int
	_, err = fmt.Fscan(stdout, &redis, &postgres)
	require.NoError(t, err)
	for _, pid := range []int{redis, postgres} {
		require.True(t, processRuns(pid))
		group, err := syscall.Getpgid(pid)
		require.NoError(t, err)
		require.Equal(t, pid, group, "Ctrl-C goes to the process group of the parent")
	}

	require.NoError(t, parent.Process.Kill())
	require.Error(t, parent.Wait(), "killed")
	servertest.Until(t, "the servers are gone", func() bool { return !processRuns(redis) && !processRuns(postgres) })
}
