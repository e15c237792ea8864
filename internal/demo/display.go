package demo

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"processor/internal/terminal"
)

// display is where the demo shows itself. Whether what it writes arrives is not its concern.
type display interface {
	// say writes a line that stays.
	say(text string)
	// show brings the state up to date.
	show(s snapshot)
	// finish shows the state for the last time. What is said later comes after it.
	finish(s snapshot)
}

// newDisplay picks by what out can do.
func newDisplay(out io.Writer) display {
	if !terminal.MovesCursor(out) {
		return &lines{out: out, next: time.Second}
	}
	return newScreen(out, terminal.Colours(out), func() (cols, rows int) { return terminal.Size(out) })
}

// lines is a display without a terminal: a line a second, and the newest warning before it.
type lines struct {
	out    io.Writer
	next   time.Duration // of the demo's time, when the next line is due
	warned time.Time     // of the last warning that was written
}

func (l *lines) say(text string) { fmt.Fprintln(l.out, text) }

func (l *lines) show(s snapshot) {
	if s.elapsed < l.next {
		return
	}
	l.next = s.elapsed.Truncate(time.Second) + time.Second
	if s.warning.at.After(l.warned) {
		l.warned = s.warning.at
		l.say(s.warning.text)
	}
	l.say(s.summary())
}

func (l *lines) finish(s snapshot) { l.say(s.summary()) }

// Control sequences of ECMA-48, which every terminal of today knows.
const (
	clearScreen = "\x1b[H\x1b[2J"
	clearLine   = "\x1b[K" // from the cursor on
	clearBelow  = "\x1b[J"
	cursorUp    = "\x1b[%dA"
	resetStyle  = "\x1b[0m"
)

// screen is a display that redraws its view in place, below what was said. It leaves the cursor visible
// and the screen's mode alone, so that a demo that is killed leaves nothing to repair.
type screen struct {
	out   io.Writer
	color bool
	size  func() (cols, rows int)

	cols, rows int // when it was last drawn
	said       []string
	last       []line // of the view; none before the first show and after finish
}

func newScreen(out io.Writer, color bool, size func() (cols, rows int)) *screen {
	sc := &screen{out: out, color: color, size: size}
	sc.cols, sc.rows = size()
	return sc
}

func (sc *screen) say(text string) {
	sc.said = append(sc.said, text)
	var b bytes.Buffer
	sc.home(&b)
	b.WriteString(clearBelow)
	sc.print(&b, text)
	sc.draw(&b)
	_, _ = sc.out.Write(b.Bytes())
}

func (sc *screen) show(s snapshot) {
	var b bytes.Buffer
	if sc.resized() {
		// The terminal has wrapped the lines in its own way, so nobody knows where they are.
		b.WriteString(clearScreen)
		for _, text := range sc.said {
			sc.print(&b, text)
		}
	} else {
		sc.home(&b)
	}
	// The cursor waits below the view, and a full last column would wrap on some terminals.
	sc.last = view(s, sc.cols-1, sc.rows-1)
	sc.draw(&b)
	_, _ = sc.out.Write(b.Bytes())
}

func (sc *screen) finish(s snapshot) {
	sc.show(s)
	sc.last = nil
	sc.say("")
}

// resized brings the size up to date, and reports whether it was another one before.
func (sc *screen) resized() bool {
	cols, rows := sc.size()
	if cols == sc.cols && rows == sc.rows {
		return false
	}
	sc.cols, sc.rows = cols, rows
	return true
}

func (sc *screen) print(b *bytes.Buffer, text string) {
	for _, part := range wrap(text, " ", sc.cols) {
		fmt.Fprintln(b, part)
	}
}

// home moves the cursor to the view's first line.
func (sc *screen) home(b *bytes.Buffer) {
	b.WriteByte('\r') // the terminal may have echoed a ^C
	if len(sc.last) > 0 {
		fmt.Fprintf(b, cursorUp, len(sc.last))
	}
}

func (sc *screen) draw(b *bytes.Buffer) {
	for _, l := range sc.last {
		text := l.text
		if sc.color && l.style != plain {
			text = l.style.sequence() + text + resetStyle
		}
		b.WriteString(text + clearLine + "\n")
	}
	b.WriteString(clearBelow)
}

// sequence is that of SGR, ECMA-48.
func (s style) sequence() string {
	switch s {
	case title:
		return "\x1b[1m"
	case faint:
		return "\x1b[2m"
	case alarm:
		return "\x1b[33m"
	}
	return ""
}
