package demo

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

//go:embed cleanup.sh
var cleanup string

// home is the directory of everything that the demo writes, and a shell that removes it and resets the terminal if
// this process cannot: after a panic or SIGKILL.
type home struct {
	dir     string
	cleaner *exec.Cmd
	stdin   io.Closer // the cleaner acts when it is closed, so also when this process ends
}

// newHome makes the directory. tty, if not nil, is the terminal whose present settings are those to return to. The
// caller calls remove.
func newHome(tty *os.File, settings string) (*home, error) {
	dir, err := os.MkdirTemp("", "processor-demo-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the demo: %w", err)
	}
	h := &home{dir: dir, cleaner: exec.Command("sh", "-c", cleanup, "sh", dir, settings)}
	// PostgreSQL may run as another user.
	err = os.Chmod(dir, 0o755)
	if err == nil {
		err = h.startCleaner(tty)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the demo's cleaner: %w", err), os.RemoveAll(dir))
	}
	return h, nil
}

func (h *home) startCleaner(tty *os.File) (err error) {
	// A new session: no signal of the terminal reaches it, and none stops it when it changes the terminal.
	h.cleaner.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	h.cleaner.Dir = "/"
	if tty != nil {
		h.cleaner.ExtraFiles = []*os.File{tty}
	}
	if h.stdin, err = h.cleaner.StdinPipe(); err != nil {
		return err
	}
	return h.cleaner.Start()
}

// remove removes the directory and waits for the cleaner. The servers must have stopped.
func (h *home) remove() error {
	err := errors.Join(os.RemoveAll(h.dir), h.stdin.Close(), h.cleaner.Wait())
	return during("remove the demo's directory", err)
}
