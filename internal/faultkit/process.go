package faultkit

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/servertest"
)

// deadline is how long a process may take for whatever is asked of it. Only a machine that is
// very busy comes near.
const deadline = time.Minute

// Process is a child process, and what it prints. It dies with its test.
type Process struct {
	t    testing.TB
	cmd  *exec.Cmd
	log  servertest.Log
	done chan struct{} // closed once the process has ended
}

// Start starts a command.
func Start(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{t: t, cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	cmd.SysProcAttr = diesWithParent()
	started := make(chan error)
	go func() {
		defer close(p.done)
		// Linux sends the parent-death signal when the thread that forked ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // cmd.ProcessState says how it ended
		}
	}()
	require.NoError(t, <-started)
	t.Cleanup(p.Kill)
	return p
}

// Signal sends a signal; to a process that has ended it does nothing.
func (p *Process) Signal(sig os.Signal) {
	_ = p.cmd.Process.Signal(sig)
}

// Kill ends the process with SIGKILL and returns when it is gone.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// Wait returns how the process ended by itself, or fails the test where it does not.
func (p *Process) Wait() *os.ProcessState {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState
	case <-time.After(deadline):
		require.FailNow(p.t, "the process does not end", p.Log())
		panic("unreachable")
	}
}

// Running reports whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Pause stops the process with SIGSTOP and returns when it has stopped (Linux).
func (p *Process) Pause() {
	p.t.Helper()
	p.Signal(syscall.SIGSTOP)
	p.AwaitPause()
}

// AwaitPause returns when the process has stopped, by a signal from any process (Linux).
func (p *Process) AwaitPause() {
	p.t.Helper()
	servertest.Until(p.t, "the process has stopped", func() bool {
		// The state follows the command's name in parentheses, proc_pid_stat(5).
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		require.NoError(p.t, err)
		_, state, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')'):]), " ")
		return strings.HasPrefix(state, "T")
	})
}

// Resume continues a process that has stopped.
func (p *Process) Resume() { p.Signal(syscall.SIGCONT) }

// Log is what the process has printed so far.
func (p *Process) Log() string { return p.log.String() }

// PeakMemory is the most that the process, which must still run, has had resident, in bytes
// (Linux). What wait4 reports would count this process in, from before exec.
func (p *Process) PeakMemory() int64 {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(p.t, err)
	var kilobytes int64
	_, line, _ := strings.Cut(string(status), "VmHWM:")
	_, err = fmt.Sscan(line, &kilobytes)
	require.NoError(p.t, err)
	return kilobytes << 10
}
