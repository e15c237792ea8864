package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const startTimeout = time.Minute

// Server is the process of a [Redis] or [Postgres]. Its methods are safe for concurrent use.
type Server struct {
	name       string
	stopSignal syscall.Signal
	command    func() *exec.Cmd
	ping       func(context.Context) error
	log        string
	temporary  []string // directories that Stop removes

	mu      sync.Mutex
	process *process
	stopped bool
}

// start starts the process and waits until it answers. If it returns an error, no process is left running.
func (s *Server) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	p, err := startProcess(s.command(), s.log)
	if err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	s.process = p
	if err := p.waitReady(ctx, s.ping); err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", s.name, err), p.kill())
	}
	return nil
}

// PID returns the id of the server's main process; for PostgreSQL this is the postmaster. Restart changes
// it.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process.pid()
}

// Stop shuts the server down, kills it if ctx ends first, and removes its temporary directory. The server
// cannot be restarted afterwards. Stop may be called more than once, and after Kill.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	s.stopped = true
	var err error
	if s.process != nil {
		err = s.process.stop(ctx, s.stopSignal)
	}
	for _, dir := range s.temporary {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return s.wrap("stop", err)
}

// Kill kills the server and its child processes with SIGKILL and waits until they have ended. It keeps the
// files, for Restart.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wrap("kill", s.process.kill())
}

// Pause stops the server and its child processes with SIGSTOP and returns when they have stopped:
// connections stay open, and the server does not answer until Resume. On systems other than Linux it
// returns [errors.ErrUnsupported].
func (s *Server) Pause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.process.running() {
		return s.wrap("pause", os.ErrProcessDone)
	}
	_, err := s.process.pause()
	return s.wrap("pause", err)
}

// Resume continues a paused server.
func (s *Server) Resume() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.process.running() {
		return s.wrap("resume", os.ErrProcessDone)
	}
	return s.wrap("resume", s.process.resume())
}

// Restart shuts the server down if it runs, starts it again with the same port and directory, and returns
// when it answers. After Stop it returns an error.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return s.wrap("restart", errors.New("already stopped and removed"))
	}
	if err := s.process.stop(ctx, s.stopSignal); err != nil {
		return s.wrap("restart", err)
	}
	return s.start(ctx)
}

func (s *Server) wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", doing, s.name, err)
}

// findBinary searches PATH, then directories that are not in the PATH of all users on Debian.
func findBinary(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return filepath.Abs(path)
	}
	for _, dir := range []string{"/usr/bin", "/usr/sbin", "/usr/local/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", err
}
