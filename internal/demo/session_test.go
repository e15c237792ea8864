package demo_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"processor/internal/servertest"
)

// session is a demo in a child process, on a terminal or with a pipe, with a temporary directory of itself.
type session struct {
	t   *testing.T
	dir string
	log servertest.Log
	// terminal and tty are the two ends of the pseudo-terminal; nil with a pipe.
	terminal, tty *os.File
	before        string // the terminal's settings
	cmd           *exec.Cmd
	ended         chan struct{}
}

func newSession(t *testing.T) *session {
	dir, err := os.MkdirTemp("", "demo-test-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755)) // PostgreSQL may have to run as another user
	s := &session{t: t, dir: dir, ended: make(chan struct{})}
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return s
}

func (s *session) start(cmd *exec.Cmd) {
	s.t.Helper()
	s.cmd = cmd
	cmd.Env = append(os.Environ(), "TMPDIR="+s.dir, "DEMO_DEVICES=20", "DEMO_RATE=300", "TERM=xterm")
	require.NoError(s.t, cmd.Start())
	go func() {
		defer close(s.ended)
		_ = cmd.Wait()
	}()
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()            // the shell still waits
		for _, p := range s.processes() { // of a test that failed
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
		<-s.ended
		if s.t.Failed() {
			s.t.Log(s.text())
		}
	})
}

// onTerminal starts a demo as a shell does in the foreground of a terminal. The shell prints its exit code.
func onTerminal(t *testing.T, args ...string) *session {
	t.Helper()
	s := newSession(t)
	master, tty, err := pty.Open()
	require.NoError(t, err)
	require.NoError(t, pty.Setsize(master, &pty.Winsize{Cols: 100, Rows: 40}))
	s.terminal, s.tty = pollable(t, master), tty
	s.before = s.settings()
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		buf := make([]byte, 4096)
		for {
			n, err := s.terminal.Read(buf)
			_, _ = s.log.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = tty.Close()
		_ = s.terminal.Close()
		<-copied
	})
	script := `trap : INT QUIT; "$@"; code=$?; trap '' INT QUIT; echo "exit code $code."; read -r _`
	cmd := exec.Command("sh", append([]string{"-c", script, "sh", os.Args[0], "demo"}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.tty, s.tty, s.tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	s.start(cmd)
	return s
}

// pollable returns a file whose Close ends a Read, which it does not after Fd was called.
func pollable(t *testing.T, file *os.File) *os.File {
	t.Helper()
	// At once close-on-exec: a process that another test starts meanwhile would keep the terminal open.
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, syscall.SetNonblock(fd, true))
	require.NoError(t, file.Close())
	return os.NewFile(uintptr(fd), file.Name())
}

// withPipe starts a demo without a terminal.
func withPipe(t *testing.T, args ...string) *session {
	t.Helper()
	s := newSession(t)
	cmd := exec.Command(os.Args[0], append([]string{"demo"}, args...)...)
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	s.start(cmd)
	return s
}

var (
	escapes  = regexp.MustCompile(`\x1b\[[0-9;]*[A-Za-z]`)
	exitCode = regexp.MustCompile(`exit code (\d+)\.`)
)

// text returns all output without control sequences.
func (s *session) text() string {
	return strings.ReplaceAll(escapes.ReplaceAllString(s.log.String(), ""), "\r", "")
}

// awaits waits until the output holds a text so many times.
func (s *session) awaits(text string, times int) {
	s.t.Helper()
	servertest.Until(s.t, fmt.Sprintf("%q is printed %d times", text, times), func() bool {
		return strings.Count(s.text(), text) >= times
	})
}

func (s *session) press(keys string) {
	s.t.Helper()
	_, err := s.terminal.WriteString(keys)
	require.NoError(s.t, err)
}

// exit waits for the demo's end and returns its exit code; of a killed one, 128 and the signal.
func (s *session) exit() int {
	s.t.Helper()
	if s.terminal == nil {
		servertest.Within(s.t, s.ended)
		return s.cmd.ProcessState.ExitCode()
	}
	var code int
	servertest.Until(s.t, "the demo ends", func() bool {
		m := exitCode.FindStringSubmatch(s.text())
		if m != nil {
			code, _ = strconv.Atoi(m[1])
		}
		return m != nil
	})
	return code
}

// settings returns the terminal's settings.
func (s *session) settings() string {
	s.t.Helper()
	cmd := exec.Command("stty", "-g")
	cmd.Stdin = s.tty
	out, err := cmd.Output()
	require.NoError(s.t, err)
	return string(out)
}

type child struct {
	pid  int
	args string
}

// processes lists what runs with the session's temporary directory, but for the shell.
func (s *session) processes() (all []child) {
	s.t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(s.t, err)
	for _, path := range paths {
		pid, err := strconv.Atoi(filepath.Base(path))
		require.NoError(s.t, err)
		environ, _ := os.ReadFile(path + "/environ") // it may have ended
		args, _ := os.ReadFile(path + "/cmdline")
		if pid != s.cmd.Process.Pid && strings.Contains(string(environ)+string(args), s.dir) {
			all = append(all, child{pid, strings.ReplaceAll(string(args), "\x00", " ")})
		}
	}
	return all
}

// pid returns the demo's process on a terminal.
func (s *session) pid() int {
	s.t.Helper()
	for _, p := range s.processes() {
		if strings.HasPrefix(p.args, os.Args[0]+" demo") {
			return p.pid
		}
	}
	require.FailNow(s.t, "no demo is running")
	return 0
}

// leavesNothing waits until no process and no file is left and the terminal is as it was.
func (s *session) leavesNothing() {
	s.t.Helper()
	var left []string
	defer func() { s.t.Log("left at last:", left) }()
	servertest.Until(s.t, "nothing is left", func() bool {
		left = s.left()
		return len(left) == 0
	})
}

// left lists processes, files and changed settings.
func (s *session) left() (all []string) {
	s.t.Helper()
	for _, p := range s.processes() {
		all = append(all, p.args)
	}
	files, err := os.ReadDir(s.dir)
	require.NoError(s.t, err)
	for _, f := range files {
		all = append(all, f.Name())
	}
	if s.tty != nil && s.settings() != s.before {
		all = append(all, "settings of the terminal")
	}
	return all
}

var (
	printedRedis    = regexp.MustCompile(`REDIS_URL='([^']+)'`)
	printedDatabase = regexp.MustCompile(`DATABASE_URL='([^']+)'`)
)

// redis connects to the Redis that the demo prints.
func (s *session) redis() *redis.Client {
	s.t.Helper()
	s.awaits("worker on http://", 1)
	s.awaits("XINFO GROUPS", 1)
	o, err := redis.ParseURL(printedRedis.FindStringSubmatch(s.text())[1])
	require.NoError(s.t, err)
	client := redis.NewClient(o)
	s.t.Cleanup(func() { _ = client.Close() })
	return client
}

// database connects to the database that the demo prints.
func (s *session) database() *pgx.Conn {
	s.t.Helper()
	s.awaits("XINFO GROUPS", 1)
	return servertest.Connect(s.t, printedDatabase.FindStringSubmatch(s.text())[1])
}

var resultLine = regexp.MustCompile(`(?m)^(\d+) kills?, (\d+) outages?, ([\d,]+) duplicates?, ([\d,]+) bad: ([\d,]+) published = ([\d,]+) rows? \+ ([\d,]+) dead letters?(?: \(Redis did not confirm ([\d,]+) of them\))?$`)

// result is the last line of a demo, in numbers.
type result struct{ kills, outages, duplicates, bad, published, rows, letters, unconfirmed int }

func (s *session) result() result {
	s.t.Helper()
	m := resultLine.FindStringSubmatch(s.text())
	require.NotNil(s.t, m, s.text())
	var n [8]int
	for i, text := range m[1:] {
		n[i], _ = strconv.Atoi(strings.ReplaceAll(text, ",", "")) // the last one may be missing
	}
	r := result{n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7]}
	require.Equal(s.t, r.published, r.rows+r.letters)
	require.GreaterOrEqual(s.t, r.letters, r.bad)
	require.Greater(s.t, r.rows, 0)
	return r
}
