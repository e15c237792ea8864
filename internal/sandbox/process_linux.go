package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// stateTimeout is the timeout for SIGSTOP or SIGKILL to take effect. The kernel handles both, so only an
// overloaded machine takes more than milliseconds.
const stateTimeout = 10 * time.Second

// ChildAttr returns the attributes of a child that Ctrl-C does not reach and that is killed when the thread that
// started it ends: runtime.LockOSThread keeps that thread.
func ChildAttr() *syscall.SysProcAttr { return sysProcAttr(nil) }

// sysProcAttr returns attributes of a child that Ctrl-C does not reach and that is killed when its parent
// ends.
func sysProcAttr(credential *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: credential}
}

// pause stops the process and its children with SIGSTOP, and returns the children. It stops the process
// first, so that it cannot start another child.
func (p *process) pause() ([]int, error) {
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return nil, err
	}
	if err := waitState(p.pid(), "TtZX"); err != nil {
		return nil, err
	}
	found, err := children(p.pid())
	if err != nil {
		return nil, err
	}
	for _, child := range found {
		err = errors.Join(err, ignoreGone(syscall.Kill(child, syscall.SIGSTOP)))
	}
	for _, child := range found {
		err = errors.Join(err, waitState(child, "TtZX"))
	}
	return found, err
}

// resume continues the process and its children.
func (p *process) resume() error {
	found, err := children(p.pid())
	for _, child := range found {
		err = errors.Join(err, ignoreGone(syscall.Kill(child, syscall.SIGCONT)))
	}
	return errors.Join(err, p.signal(syscall.SIGCONT))
}

// waitGone waits until the killed processes have ended. They need not be reaped.
func waitGone(pids []int) error {
	var err error
	for _, pid := range pids {
		err = errors.Join(err, waitState(pid, "ZX"))
	}
	return err
}

// children lists the processes whose parent is pid.
func children(pid int) ([]int, error) {
	paths, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, path := range paths {
		child, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			return nil, err
		}
		// An error means that the process has just ended.
		if _, parent, err := procStat(child); err == nil && parent == pid {
			found = append(found, child)
		}
	}
	return found, nil
}

// waitState waits until the process is in one of the states of proc_pid_stat(5) or no longer exists.
func waitState(pid int, states string) error {
	for deadline := time.Now().Add(stateTimeout); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		state, _, err := procStat(pid)
		if err != nil || strings.ContainsRune(states, state) {
			return nil
		}
	}
	return fmt.Errorf("signal had no effect on process %d within %v", pid, stateTimeout)
}

// procStat reads a process's state and parent, proc_pid_stat(5).
func procStat(pid int) (state rune, parent int, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The command's name before the state may contain spaces and parentheses.
	_, err = fmt.Sscanf(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " %c %d", &state, &parent)
	return state, parent, err
}
