package demo

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"processor/internal/sandbox"
)

// maxLogLine is in bytes. The log after a longer line is dropped.
const maxLogLine = 1 << 20

// workerCommand is how a worker is started.
type workerCommand struct {
	executable string
	args       []string
	environ    []string
	log        *workerLog
}

// workerEnviron returns the environment of this process without the settings that the demo makes itself, so that any
// other setting of processor run applies, and with the servers' URLs, which hold a password.
func workerEnviron(redisURL, databaseURL string) []string {
	environ := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return strings.HasPrefix(name, "REDIS_") || strings.HasPrefix(name, "DATABASE_") || strings.HasPrefix(name, "PG") ||
			slices.Contains([]string{"HTTP_ADDR", "PPROF_ADDR", "LOG_LEVEL", "SHUTDOWN_TIMEOUT"}, name)
	})
	return append(environ, "REDIS_URL="+redisURL, "DATABASE_URL="+databaseURL)
}

// process is a worker: a child process that runs processor run.
type process struct {
	cmd    *exec.Cmd
	ended  chan struct{} // closed when it has been reaped
	err    error         // how it ended; valid after ended is closed
	killed bool          // by keeper.kill; guarded by keeper.mu
}

// start starts a worker. The caller ends it and waits for ended.
func (c workerCommand) start() (*process, error) {
	p := &process{cmd: exec.Command(c.executable, c.args...), ended: make(chan struct{})}
	p.cmd.Env = c.environ
	p.cmd.SysProcAttr = sandbox.ChildAttr()
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("start the worker: %w", err)
	}
	started := make(chan error, 1)
	go func() {
		defer close(p.ended)
		// Linux sends the parent-death signal when the thread that forked ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		lines := bufio.NewScanner(stderr)
		lines.Buffer(nil, maxLogLine)
		for lines.Scan() {
			c.log.add(lines.Bytes())
		}
		_, _ = io.Copy(io.Discard, stderr) // the worker must not block
		p.err = p.cmd.Wait()
	}()
	if err := <-started; err != nil {
		<-p.ended
		return nil, fmt.Errorf("start the worker: %w", err)
	}
	return p, nil
}

func (p *process) running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// stop sends SIGTERM and returns how the worker ended. When hurry ends it is killed.
func (p *process) stop(hurry context.Context) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended; p.err holds how
	select {
	case <-p.ended:
		return during("the worker", p.err)
	case <-hurry.Done():
		_ = p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("the worker was killed because it did not stop: %w", context.Cause(hurry))
	}
}

// keeper keeps one worker running, as systemd or Kubernetes does. Its methods are safe for concurrent use.
type keeper struct {
	command workerCommand

	mu      sync.Mutex
	current *process
	starts  int
}

// run keeps a worker running until ctx ends, and stops it then, for at most stopTimeout or until abort ends. After
// kill it waits for downtime, or until hurry is closed, before it starts the next one. It returns an error if a
// worker cannot be started, ends although nobody killed it, or does not end in order.
func (k *keeper) run(ctx, abort context.Context, hurry <-chan struct{}) error {
	for {
		p, err := k.start()
		if err != nil {
			return err
		}
		select {
		case <-p.ended:
		case <-ctx.Done():
			stopCtx, cancel := context.WithTimeout(abort, stopTimeout)
			defer cancel()
			return p.stop(stopCtx)
		}
		if !k.wasKilled(p) {
			return fmt.Errorf("%w: %s", errWorkerEnded, p.cmd.ProcessState)
		}
		select {
		case <-time.After(downtime):
		case <-hurry:
		case <-ctx.Done():
			return nil
		}
	}
}

func (k *keeper) start() (*process, error) {
	p, err := k.command.start()
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.current = p
	k.starts++
	return p, nil
}

// kill kills the worker with SIGKILL and returns when it has ended. It reports false if none is running.
func (k *keeper) kill() bool {
	k.mu.Lock()
	p := k.current
	if p == nil || !p.running() || p.cmd.Process.Kill() != nil {
		k.mu.Unlock()
		return false
	}
	p.killed = true
	k.mu.Unlock()
	<-p.ended
	return true
}

func (k *keeper) wasKilled(p *process) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return p.killed
}

// state returns how often a worker was started, and the id of the one that is running; 0 if none is.
func (k *keeper) state() (starts, pid int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current != nil && k.current.running() {
		pid = k.current.cmd.Process.Pid
	}
	return k.starts, pid
}
