package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const pollInterval = 10 * time.Millisecond

// process is a child process and the goroutine that waits for it.
type process struct {
	cmd  *exec.Cmd
	log  string        // path of its output
	done chan struct{} // closed when the child has been reaped
}

// startProcess starts cmd and appends its output to the file log. The caller ends the child and waits for
// done.
func startProcess(cmd *exec.Cmd, log string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the child has its own descriptor
	cmd.Stdout, cmd.Stderr = out, out

	p := &process{cmd: cmd, log: log, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		defer close(p.done)
		// Linux sends the parent-death signal when the thread that forked ends, so the thread must live
		// as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // cmd.ProcessState holds the result
		}
	}()
	if err := <-started; err != nil {
		<-p.done
		return nil, err
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// waitReady calls ping until it succeeds, the process ends or ctx ends.
func (p *process) waitReady(ctx context.Context, ping func(context.Context) error) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := ping(ctx)
		if err == nil && p.running() { // another server may have answered
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s: %s", p.cmd.ProcessState, lastLines(p.log))
		case <-ctx.Done():
			return fmt.Errorf("wait until ready: %w: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// signal sends sig. It does nothing if the process has ended.
func (p *process) signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// stop sends sig and waits for the process to end. If ctx ends first, it kills the process with its
// children and returns an error.
func (p *process) stop(ctx context.Context, sig os.Signal) error {
	if !p.running() {
		return nil
	}
	// A paused process does not handle sig.
	if err := errors.Join(p.resume(), p.signal(sig)); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("killed because it did not stop in time: %w", context.Cause(ctx)), p.kill())
	}
}

// kill kills the process and its children with SIGKILL, after it has paused all of them: none can finish
// its work because another one is already dead.
func (p *process) kill() error {
	if !p.running() {
		return nil
	}
	children, err := p.pause()
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	for _, child := range children {
		err = errors.Join(err, ignoreGone(syscall.Kill(child, syscall.SIGKILL)))
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return waitGone(children)
}

func ignoreGone(err error) error {
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// lastLines returns the last four lines of a server's output, joined to one line.
func lastLines(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-4):], "; ")
}
