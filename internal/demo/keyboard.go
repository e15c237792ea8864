package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"processor/internal/terminal"
)

// keyboard reads single keys from a terminal. nil is a demo without keys.
type keyboard struct {
	tty *os.File
	// settings are those of the terminal before, for stty.
	settings string
}

// findKeyboard returns nil unless in is a terminal with this process in the foreground: one in the background would be
// stopped as soon as it changed the terminal's settings.
func findKeyboard(in io.Reader) *keyboard {
	tty, isFile := in.(*os.File)
	if !isFile || !terminal.Is(in) || !foreground(tty) {
		return nil
	}
	settings, err := stty(tty, "-g")
	if err != nil {
		return nil // no stty: the story is told by time
	}
	return &keyboard{tty: tty, settings: strings.TrimSpace(settings)}
}

func foreground(tty *os.File) bool {
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// stty runs stty(1): termios differs between systems, and the cleaner has no other means.
func stty(tty *os.File, args ...string) (string, error) {
	cmd := exec.Command("stty", args...)
	cmd.Stdin = tty
	out, err := cmd.Output()
	return string(out), err
}

// keyWait is how long a read of the keyboard waits for a key.
const keyWait = 100 * time.Millisecond

// single makes a key readable at once, without echo. Ctrl-C and Ctrl-Z stay signals.
func (k *keyboard) single() error {
	_, err := stty(k.tty, "-icanon", "-echo", "min", "0", "time", "1")
	return during("read single keys", err)
}

// restore undoes single.
func (k *keyboard) restore() error {
	if k == nil || !foreground(k.tty) {
		return nil
	}
	_, err := stty(k.tty, k.settings)
	return during("restore the terminal", err)
}

// read calls press with each key until ctx ends. It may return up to keyWait later.
func (k *keyboard) read(ctx context.Context, press func(key byte)) {
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	defer signal.Stop(continued)
	key := make([]byte, 1)
	for ctx.Err() == nil {
		n, err := k.tty.Read(key)
		if n == 1 {
			press(key[0])
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return // the terminal is gone
		}
		select {
		case <-ctx.Done():
		case <-continued: // after Ctrl-Z and fg
			if foreground(k.tty) {
				_ = k.single() // keys then need Enter
			}
		case <-time.After(keyWait / 10): // a terminal that is gone answers at once
		}
	}
}

// keysHelp is the line of keys.
func keysHelp() string {
	parts := []string{"keys:"}
	for _, s := range scenes() {
		parts = append(parts, fmt.Sprintf("%c %s", s.key, s.name))
	}
	return strings.Join(append(parts, "q end"), "  ")
}
