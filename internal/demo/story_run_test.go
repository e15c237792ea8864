package demo_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/servertest"
)

func TestDemo_TellsTheStoryByTime(t *testing.T) {
	t.Parallel()
	s := withPipe(t)
	for _, begins := range []string{"\nd  ", "\nb  ", "\nk  ", "\np  ", "\nThat was the story."} {
		s.awaits(begins, 1)
	}
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))

	require.Zero(t, s.exit())

	r := s.result()
	require.Equal(t, result{1, 1, 1000, 12, r.published, r.rows, 12, 0}, r)
	text := s.text()
	require.True(t, strings.HasPrefix(text, "This demo shows "), "it says at once what it does")
	require.Contains(t, text, "the first start compiles for some minutes")
	last := 0
	for _, want := range []string{
		"\nd  The newest 1,000 positions are published a second time.\n", "\n   seen: unchanged grew by 1,0", " none twice.\n",
		"\nb  12 entries", "\n   seen: 12 dead letters in all: malformed_sentinel 1, missing_key 2, not_json 2, out_of_range 2, too_deep 1, unstorable_number 1, unstorable_string 1, wrong_type 2.\n",
		"\nk  The worker is killed", " pending in Redis for the worker that was killed.\n", "\n   seen: ", " taken again and acknowledged ", " none twice.\n",
		"\np  PostgreSQL is stopped", "FAILING  postgres: ", "\n   seen: check postgres failed; up to ", " none twice.\n",
		"\nledger of the last worker: read ", " bad: ",
	} {
		at := strings.Index(text[last:], want)
		require.GreaterOrEqual(t, at, 0, "%q after %q", want, text[:last])
		last += at
	}
	require.NotContains(t, s.log.String(), "\x1b", "no control sequences in a pipe")
	require.NotContains(t, text, "keys:")
	require.Empty(t, s.left())
}

// Keys in any order: within one another, twice, and more of them than can be played.
func TestDemo_AccountsForEveryKey(t *testing.T) {
	t.Parallel()
	s := onTerminal(t)
	s.awaits("keys:  d 1,000 duplicates  b 12 bad entries  k kill -9 the worker", 1)
	s.awaits("unread ", 3)
	s.press("dDbb") // twice at once
	s.awaits("seen: ", 4)
	s.press("kkdbx\x00\n") // k is refused while the worker is down; d and b meanwhile; the rest means nothing
	s.awaits("k  Not now", 1)
	s.awaits("seen: ", 7)
	s.press("p")
	s.awaits("FAILING  postgres", 1)
	s.press("pkdb") // during the outage
	s.awaits("p  Not now", 1)
	s.awaits("seen: ", 11)
	s.press("k")
	s.awaits("for the worker that was killed", 3)
	s.press("\x03") // while no worker runs

	require.Zero(t, s.exit())

	r := s.result()
	require.Equal(t, result{3, 1, 4000, 48, r.published, r.rows, 48, r.unconfirmed}, r)
	require.NotContains(t, s.text(), "That was the story")
	require.Contains(t, s.log.String(), "\x1b[1m", "colours")
	require.Empty(t, s.left())
}

func TestDemo_EndsWithTheKeyQDuringAnOutage(t *testing.T) {
	t.Parallel()
	s := onTerminal(t)
	s.awaits("unread ", 2)
	s.press("p")
	s.awaits("expected: a check fails", 1)
	s.press("bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbq")

	require.Zero(t, s.exit())

	r := s.result()
	require.Equal(t, 1, r.outages)
	require.Equal(t, r.bad, r.letters)
	require.Empty(t, s.left())
}

// What is not there any more, or is there although nobody published it, is told with exit code 1.
func TestDemo_NoticesWhatIsWrong(t *testing.T) {
	for name, test := range map[string]struct {
		break_ func(s *session)
		want   string
	}{
		"a row is missing": {func(s *session) {
			s.awaits("seen: 12 dead letters", 1) // a duplicate would bring it back
			servertest.Until(s.t, "a row is deleted", func() bool {
				tag, err := s.database().Exec(s.t.Context(), "DELETE FROM positions WHERE (device_id, ts) IN (SELECT device_id, ts FROM positions LIMIT 1)")
				require.NoError(s.t, err)
				return tag.RowsAffected() == 1
			})
		}, " (1 row missing)"},
		"a row is there too many": {func(s *session) {
			servertest.Until(s.t, "a row is copied", func() bool {
				tag, err := s.database().Exec(s.t.Context(), `INSERT INTO positions (device_id, ts, latitude, longitude, altitude, angle, speed, satellites, priority, attributes)
					SELECT 'copy', ts, latitude, longitude, altitude, angle, speed, satellites, priority, attributes FROM positions LIMIT 1`)
				require.NoError(s.t, err)
				return tag.RowsAffected() == 1
			})
		}, " (1 row too many)"},
		"a dead letter that nobody published": {func(s *session) {
			require.NoError(s.t, s.redis().Do(s.t.Context(), "XADD", "telemetry:t", "*", "payload", "{}").Err())
		}, " (1 other dead letter too many)"},
		"a dead letter is dropped": {func(s *session) {
			s.awaits("b  12 entries", 1)
			servertest.Until(s.t, "a dead letter is dropped", func() bool {
				n, err := s.redis().Do(s.t.Context(), "XTRIM", "{telemetry:t}:dead", "MAXLEN", 11).Int()
				require.NoError(s.t, err)
				return n == 1
			})
		}, " (1 dead letter missing)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := withPipe(t, "--for", "5s")
			test.break_(s)
			require.Equal(t, 1, s.exit())
			require.Contains(t, s.text(), test.want+"\n")
			require.NotRegexp(t, resultLine, s.text())
			require.Empty(t, s.left())
		})
	}
}

// Ctrl-C again and again ends the demo wherever it is, in order or at once.
func TestDemo_SecondCtrlCLeavesNothing(t *testing.T) {
	for name, until := range map[string]func(s *session){
		"while PostgreSQL starts": func(s *session) { s.awaits("starting PostgreSQL", 1) },
		"while the fleet runs":    func(s *session) { s.awaits("unread ", 2) },
		"during an outage and a kill": func(s *session) {
			s.awaits("unread ", 2)
			s.press("pkbd")
			s.awaits("FAILING  postgres", 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := onTerminal(t)
			until(s)
			servertest.Until(t, "the demo ends", func() bool {
				s.press("\x03")
				return exitCode.MatchString(s.text())
			})
			require.Equal(t, resultLine.MatchString(s.text()), s.exit() == 0)
			s.leavesNothing()
		})
	}
}

// The second signal does not wait for PostgreSQL, which is stopped here and does not come back in time.
func TestDemo_SecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	s := onTerminal(t)
	s.awaits("unread ", 2)
	var postgres []int
	for _, p := range s.processes() {
		if strings.Contains(p.args, "postgres") && !strings.Contains(p.args, "rm -rf") {
			postgres = append(postgres, p.pid)
		}
	}
	require.NotEmpty(t, postgres)
	for _, pid := range postgres {
		require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	}
	s.press("\x03")
	s.awaits("storing the last", 1)
	s.press("\x03")
	require.Equal(t, 1, s.exit())
	require.Contains(t, s.text(), "stopped at once: nothing was compared")
	require.NotContains(t, s.text(), "the worker's last log lines", "it did not fail")
	require.Empty(t, s.left())
}

// A demo that cannot end in order leaves nothing either.
func TestDemo_KilledLeavesNothing(t *testing.T) {
	for name, test := range map[string]struct {
		until  string
		signal syscall.Signal
	}{
		"killed while PostgreSQL starts": {"starting PostgreSQL", syscall.SIGKILL},
		"killed while the fleet runs":    {"unread ", syscall.SIGKILL},
		"as by a panic":                  {"unread ", syscall.SIGQUIT},
		"stopped by systemd":             {"unread ", syscall.SIGTERM},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := onTerminal(t)
			s.awaits(test.until, 1)
			require.NoError(t, syscall.Kill(s.pid(), test.signal))
			code := s.exit()
			require.Equal(t, test.signal == syscall.SIGTERM, code == 0, code)
			s.leavesNothing()
		})
	}
}

// A closed window takes the terminal away and sends SIGHUP.
func TestDemo_ClosedWindowLeavesNothing(t *testing.T) {
	t.Parallel()
	s := onTerminal(t)
	s.awaits("unread ", 1)
	require.NoError(t, s.terminal.Close())
	require.NoError(t, s.tty.Close())
	s.tty = nil
	s.leavesNothing()
}

// A pipe that nobody reads any more ends the demo in order.
func TestDemo_ClosedPipeLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	read, write, err := os.Pipe()
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0], "demo")
	cmd.Stdout = write
	cmd.Stderr = &s.log
	s.start(cmd)
	require.NoError(t, write.Close())
	lines := bufio.NewScanner(read)
	for lines.Scan() && !strings.Contains(lines.Text(), "  1s  published ") {
		_, _ = s.log.Write(append(lines.Bytes(), '\n'))
	}
	require.NoError(t, read.Close())
	require.Zero(t, s.exit(), "everything was stored, although nobody reads it")
	require.Empty(t, s.left())
}

// The lines that the demo suggests work.
func TestDemo_SuggestsWhatWorks(t *testing.T) {
	t.Parallel()
	s := withPipe(t)
	client := s.redis()
	servertest.Until(t, "the group is there", func() bool {
		groups, err := client.XInfoGroups(context.WithoutCancel(t.Context()), "telemetry:t").Result()
		return err == nil && len(groups) == 1 && groups[0].Name == "processor"
	})
	servertest.Until(t, "there are rows", func() bool {
		var n int
		require.NoError(t, s.database().QueryRow(t.Context(), "SELECT count(*) FROM positions").Scan(&n))
		return n > 0
	})
	require.Regexp(t, `(?m)^  \S.* status --watch    \S.* dlq list$`, s.text())
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	require.Zero(t, s.exit())
	require.Empty(t, s.left())
}
