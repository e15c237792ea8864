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

// process is a child and the goroutine that waits for it.
type process struct {
	cmd  *exec.Cmd
	log  string        // path of what it printed
	done chan struct{} // closed once the child has been reaped
}

// startProcess starts cmd with its output appended to the file log. The caller ends the child, and
// waits for done.
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
		// Linux sends the parent-death signal when the thread that forked ends, so that thread has to
		// stay until the child is gone.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // cmd.ProcessState says how it ended
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

// waitReady calls ping until it succeeds, the process ends or ctx does.
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
			return fmt.Errorf("wait for its answer: %w: %w", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// signal does nothing where the process has ended.
func (p *process) signal(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// stop sends sig and waits for the end. Where ctx ends first it kills the process tree, and says so.
func (p *process) stop(ctx context.Context, sig os.Signal) error {
	if !p.running() {
		return nil
	}
	// A paused process takes no other signal.
	if err := errors.Join(p.resume(), p.signal(sig)); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("killed, as it did not end in time: %w", context.Cause(ctx)), p.kill())
	}
}

// kill ends the process and its children at once, so that none of them can finish its work.
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

// lastLines returns the end of what a server printed, as one line.
func lastLines(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-4):], "; ")
}
