package demo

import (
	"bytes"
	"math"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/deadletter"
	"processor/internal/observe"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func busy() snapshot {
	return snapshot{
		elapsed: 12*time.Second + 300*time.Millisecond,
		limit:   20 * time.Second,
		devices: 500,
		rate:    1000,
		keys:    true,
		reading: reading{
			published: 1_234_567, duplicates: 2000, bad: 24, kills: 1, outages: 2,
			rows: 1_234_000, rowsKnown: true,
			sum:    figures{ledger: observe.LedgerSnapshot{Read: 1_234_560, Inserted: 1_234_000, Unchanged: 2003, InFlight: 560}},
			starts: 2, pid: 4242,
			checks: []checkState{
				{"postgres", observe.Condition{Error: "ping PostgreSQL: connection refused"}},
				{"redis", observe.Condition{OK: true}}, {"schema", observe.Condition{OK: true}},
			},
			lag: 560, pending: 7,
			letters: letters{total: 24, byReason: deadletter.Tally{
				"not_json": 4, "missing_key": 4, "wrong_type": 4, "out_of_range": 4, "malformed_sentinel": 2, "unstorable_string": 2, "too_deep": 4}},
		},
		publishedRate: 999.6,
		storedRate:    987.2,
		write:         quantiles{0.00214, 0.0487},
		delay:         quantiles{0.0065, 1.26},
		warning:       warning{noon, "warn: positions is a plain table, not a hypertable: no chunks, no compression, no retention by chunk"},
	}
}

func text(lines []line) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.text + "\n")
	}
	return b.String()
}

func TestView_Running(t *testing.T) {
	require.Equal(t, `
processor demo: 500 devices, target 1,000 positions/s   12s of 20s, Ctrl-C to stop

              positions  per second                           p50       p99
published     1,234,567       1,000      write            2.14 ms     49 ms
rows          1,234,000         987      commit delay     6.50 ms     1.3 s
unread              560                  unchanged          2,003
pending               7                  dead letters          24

worker     pid 4242; checks ok: redis, schema
  FAILING  postgres: ping PostgreSQL: connection refused
reasons    malformed_sentinel 2, missing_key 4, not_json 4, out_of_range 4
           too_deep 4, unstorable_string 2, wrong_type 4
so far     1 kill, 2 outages, 2,000 duplicates, 24 bad
12:00:00 warn: positions is a plain table, not a hypertable: no chunks, no compres

keys:  d 1,000 duplicates  b 12 bad entries  k kill -9 the worker
p stop PostgreSQL for 5 s  q end
`, "\n"+text(view(busy(), 82, 23)))
}

func TestView_States(t *testing.T) {
	for want, change := range map[string]func(s *snapshot){
		"worker     is starting\n":                        func(s *snapshot) { s.pid, s.starts = 0, 0 },
		"worker     is not running\n":                     func(s *snapshot) { s.pid = 0 },
		"worker     pid 4242 does not answer yet\n":       func(s *snapshot) { s.checks = nil },
		"rows         1,234,000?         987 ":            func(s *snapshot) { s.rowsKnown = false },
		"so far     1 kill, 0 outages, 1 duplicate, 0 ":   func(s *snapshot) { s.outages, s.duplicates, s.bad = 0, 1, 0 },
		"dead letters           0\n\nworker     pid 4242": func(s *snapshot) { s.letters = letters{} },
	} {
		s := busy()
		change(&s)
		require.Contains(t, text(view(s, 100, 23)), want)
	}
	s := busy()
	require.Contains(t, text(view(s, 100, 23)), "keys:")
	s.phase = draining
	require.NotContains(t, text(view(s, 100, 23)), "keys:")
	s = busy()
	s.keys = false
	require.NotContains(t, text(view(s, 100, 23)), "keys:")
}

func TestView_Phases(t *testing.T) {
	s := busy()
	titles := map[string]func(){
		"12s, Ctrl-C to stop":  func() { s.limit = 0 },
		"storing the last 567": func() { s.phase = draining },
		"ended":                func() { s.phase = ended },
	}
	for want, change := range titles {
		change()
		title := view(s, 100, 23)[0].text
		require.True(t, strings.HasSuffix(title, "positions/s"+strings.Repeat(" ", 100-53-len(want))+want), title)
		s.phase = publishing
	}
}

func TestView_FitsTheTerminal(t *testing.T) {
	for _, size := range [][2]int{{79, 23}, {119, 39}, {20, 5}, {1, 1}, {0, 0}, {-1, -1}} {
		lines := view(busy(), size[0], size[1])
		require.LessOrEqual(t, len(lines), max(size[1], 0))
		for _, l := range lines {
			require.LessOrEqual(t, len(l.text), max(size[0], 0))
		}
	}
}

func TestSnapshot_Summary(t *testing.T) {
	s := busy()
	const figures = "published 1,234,567 (1,000/s)  rows 1,234,000 (987/s)  unread 560  pending 7  unchanged 2,003  dead letters 24" +
		"  write p50 2.14 ms p99 49 ms  commit delay p50 6.50 ms p99 1.3 s"
	const failed = "  FAILING  postgres: ping PostgreSQL: connection refused"
	require.Equal(t, " 12s  "+figures+failed, s.summary())
	s.checks, s.phase = nil, draining
	require.Equal(t, " 12s  "+figures+"  storing the last 567", s.summary())
	s.pid, s.phase = 0, publishing
	require.Equal(t, " 12s  "+figures+"  WORKER NOT RUNNING", s.summary())
	s.phase, s.write = ended, quantiles{math.NaN(), math.NaN()}
	require.Contains(t, s.summary(), " all  published 1,234,567 (1,000/s)")
	require.Contains(t, s.summary(), "write p50 - p99 -")
	require.NotContains(t, s.summary(), "WORKER")
}

func TestLines_OneASecond(t *testing.T) {
	var out bytes.Buffer
	l := newDisplay(&out, nil)
	s := busy()
	s.elapsed = 900 * time.Millisecond
	l.show(s)
	require.Empty(t, out.String(), "the first second is not over")

	for range 9 { // 1 s to 3 s
		s.elapsed += 250 * time.Millisecond
		l.show(s)
	}
	summaries := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
	require.Len(t, summaries, 4)
	for i, prefix := range []string{s.warning.text, "  1s  ", "  2s  ", "  3s  "} {
		require.True(t, strings.HasPrefix(summaries[i], prefix), summaries)
	}
}

func TestScreen_RedrawsInPlace(t *testing.T) {
	var out bytes.Buffer
	cols, rows := 81, 6
	sc := newScreen(&out, false, func() (int, int) { return cols, rows })
	wrote := func() string {
		defer out.Reset()
		return out.String()
	}
	s := busy()
	var frame strings.Builder
	for _, l := range view(s, 80, 5) {
		frame.WriteString(l.text + "\x1b[K\n")
	}

	sc.say(plain, "hello")
	require.Equal(t, "\r\x1b[Jhello\n\x1b[J", wrote())
	sc.show(s)
	require.Equal(t, "\r"+frame.String()+"\x1b[J", wrote())
	sc.show(s)
	require.Equal(t, "\r\x1b[5A"+frame.String()+"\x1b[J", wrote(), "over the first one")
	sc.say(plain, "above")
	require.Equal(t, "\r\x1b[5A\x1b[Jabove\n"+frame.String()+"\x1b[J", wrote())
	cols, rows = 81, 7
	sc.show(s)
	require.True(t, strings.HasPrefix(wrote(), "\x1b[H\x1b[2Jhello\nabove\nprocessor demo: "), "redrawn completely after a resize")
	sc.finish(s)
	out.Reset()
	sc.say(plain, "below")
	require.Equal(t, "\r\x1b[Jbelow\n\x1b[J", wrote())
}

func TestScreen_Color(t *testing.T) {
	var out bytes.Buffer
	sc := newScreen(&out, false, func() (int, int) { return 80, 24 })
	sc.show(busy())
	require.NotRegexp(t, `\x1b\[\d*m`, out.String())
	sc.color = true
	sc.show(busy())
	require.Contains(t, out.String(), "\x1b[1mprocessor demo")
	require.Contains(t, out.String(), "\x1b[31m  FAILING  postgres")
	out.Reset()
	sc.say(title, "a scene")
	require.Contains(t, out.String(), "\x1b[1ma scene\x1b[0m\n")
}

func TestScreen_WrapsWhatItSays(t *testing.T) {
	var out bytes.Buffer
	sc := newScreen(&out, false, func() (int, int) { return 21, 6 })
	sc.say(plain, "  indented by two and longer than-the-width-of-the-terminal")
	require.Equal(t, "\r\x1b[J  indented by two\n  and longer\n  than-the-width-of-\n  the-terminal\n\x1b[J", out.String())
	for range 2 * keepSaid {
		sc.say(plain, "again")
	}
	require.Len(t, sc.said, keepSaid)
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestLines_NoticeThatNobodyReads(t *testing.T) {
	unread := 0
	newDisplay(brokenPipe{}, func() { unread++ }).say(plain, "hello")
	require.Equal(t, 1, unread)
}
