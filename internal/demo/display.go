package demo

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"processor/internal/terminal"
)

// display is the output of the demo: messages, and a view that is updated. It ignores write errors.
type display interface {
	// say writes a permanent line.
	say(text string)
	// show updates the view.
	show(s snapshot)
	// finish writes the final view. Later calls of say write below it.
	finish(s snapshot)
}

// newDisplay returns a screen if out is a terminal with a movable cursor, else lines.
func newDisplay(out io.Writer) display {
	if !terminal.MovesCursor(out) {
		return &lines{out: out, next: time.Second}
	}
	return newScreen(out, terminal.Colours(out), func() (cols, rows int) { return terminal.Size(out) })
}

// lines is the display without a terminal: one line per second, preceded by the newest warning.
type lines struct {
	out    io.Writer
	next   time.Duration // elapsed time at which the next line is due
	warned time.Time     // time of the last warning that was written
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

// Control sequences of ECMA-48.
const (
	clearScreen = "\x1b[H\x1b[2J"
	clearLine   = "\x1b[K" // from the cursor on
	clearBelow  = "\x1b[J"
	cursorUp    = "\x1b[%dA"
	resetStyle  = "\x1b[0m"
)

// screen is the display on a terminal. It redraws its view in place, below the permanent lines. It does
// not hide the cursor or change terminal modes, so a killed demo leaves the terminal usable.
type screen struct {
	out   io.Writer
	color bool
	size  func() (cols, rows int)

	cols, rows int      // terminal size at the last draw
	said       []string // permanent lines
	last       []line   // lines of the view; empty before the first show and after finish
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
		// The terminal may have rewrapped the lines, so their positions are unknown.
		b.WriteString(clearScreen)
		for _, text := range sc.said {
			sc.print(&b, text)
		}
	} else {
		sc.home(&b)
	}
	// One row is left for the cursor below the view; a full last column would wrap on some terminals.
	sc.last = view(s, sc.cols-1, sc.rows-1)
	sc.draw(&b)
	_, _ = sc.out.Write(b.Bytes())
}

func (sc *screen) finish(s snapshot) {
	sc.show(s)
	sc.last = nil
	sc.say("")
}

// resized reads the terminal's size and reports whether it has changed.
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

// home moves the cursor to the first line of the view.
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

// sequence returns the SGR control sequence (ECMA-48) of the style.
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
