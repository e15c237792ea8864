package demo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"time"

	"processor/internal/terminal"
)

// display is the output of the demo: messages, and a view that is updated. It ignores write errors, and is safe for
// concurrent use.
type display interface {
	// say writes a permanent line.
	say(st style, text string)
	// show updates the view.
	show(s snapshot)
	// finish writes the final view. Later calls of say write below it.
	finish(s snapshot)
	// live reports whether the view is redrawn in place.
	live() bool
}

// newDisplay returns a screen if out is a terminal with a movable cursor, else lines. It calls unread if out is a pipe
// that nobody reads any more.
func newDisplay(out io.Writer, unread func()) display {
	if !terminal.MovesCursor(out) {
		return &lines{out: out, unread: unread, next: time.Second}
	}
	return newScreen(out, terminal.Colours(out), func() (cols, rows int) { return terminal.Size(out) })
}

// lines is the display without a terminal: one line per second, preceded by the newest warning.
type lines struct {
	mu     sync.Mutex
	out    io.Writer
	unread func()
	next   time.Duration // elapsed time at which the next line is due
	warned time.Time     // time of the last warning that was written
}

func (l *lines) live() bool { return false }

func (l *lines) say(_ style, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.print(text)
}

func (l *lines) print(text string) {
	if _, err := fmt.Fprintln(l.out, text); errors.Is(err, syscall.EPIPE) {
		l.unread()
	}
}

func (l *lines) show(s snapshot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.elapsed < l.next {
		return
	}
	l.next = s.elapsed.Truncate(time.Second) + time.Second
	if s.warning.at.After(l.warned) {
		l.warned = s.warning.at
		l.print(s.warning.text)
	}
	l.print(s.summary())
}

func (l *lines) finish(s snapshot) { l.say(plain, s.summary()) }

// Control sequences of ECMA-48.
const (
	clearScreen = "\x1b[H\x1b[2J"
	clearLine   = "\x1b[K" // from the cursor on
	clearBelow  = "\x1b[J"
	cursorUp    = "\x1b[%dA"
	resetStyle  = "\x1b[0m"
)

// keepSaid is the number of permanent lines that are written again after the terminal was resized.
const keepSaid = 200

// screen is the display on a terminal. It redraws its view in place, below the permanent lines. It does not hide the
// cursor or use another screen, so a killed demo leaves the terminal usable.
type screen struct {
	mu    sync.Mutex
	out   io.Writer
	color bool
	size  func() (cols, rows int)

	cols, rows int    // terminal size at the last draw
	said       []line // permanent lines, at most keepSaid
	last       []line // lines of the view; empty before the first show and after finish
}

func newScreen(out io.Writer, color bool, size func() (cols, rows int)) *screen {
	sc := &screen{out: out, color: color, size: size}
	sc.cols, sc.rows = size()
	return sc
}

func (sc *screen) live() bool { return true }

func (sc *screen) say(st style, text string) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.write(line{st, text})
}

func (sc *screen) write(l line) {
	if len(sc.said) == keepSaid {
		sc.said = append(sc.said[:0], sc.said[1:]...)
	}
	sc.said = append(sc.said, l)
	var b bytes.Buffer
	sc.home(&b)
	b.WriteString(clearBelow)
	sc.print(&b, l)
	sc.draw(&b)
	_, _ = sc.out.Write(b.Bytes())
}

func (sc *screen) show(s snapshot) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.update(s)
}

func (sc *screen) update(s snapshot) {
	var b bytes.Buffer
	if sc.resized() {
		// The terminal may have rewrapped the lines, so their positions are unknown.
		b.WriteString(clearScreen)
		for _, l := range sc.said {
			sc.print(&b, l)
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
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.update(s)
	sc.last = nil
	sc.write(line{})
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

// print writes a permanent line, wrapped with the indentation that it has.
func (sc *screen) print(b *bytes.Buffer, l line) {
	indent := len(l.text) - len(strings.TrimLeft(l.text, " "))
	for i, part := range wrapWords(l.text, sc.cols-1-indent) {
		if i > 0 {
			part = strings.Repeat(" ", indent) + part
		}
		b.WriteString(sc.styled(line{l.style, part}) + "\n")
	}
}

func (sc *screen) styled(l line) string {
	if !sc.color || l.style == plain || l.text == "" {
		return l.text
	}
	return l.style.sequence() + l.text + resetStyle
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
		b.WriteString(sc.styled(l) + clearLine + "\n")
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
	case failing:
		return "\x1b[31m"
	}
	return ""
}
