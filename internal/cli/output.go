package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"processor/internal/observe"
	"processor/internal/terminal"
)

// colour is an escape sequence of ECMA-48. All are equally long, so that columns stay in line.
type colour string

const (
	red    colour = "\x1b[31m"
	green  colour = "\x1b[32m"
	yellow colour = "\x1b[33m"
)

// paint wraps text where w is a terminal that may be coloured.
func paint(w io.Writer, c colour, text string) string {
	if !terminal.Colours(w) {
		return text
	}
	return string(c) + text + "\x1b[0m"
}

// printable makes one line of a text from outside, which may hold anything: control characters
// could rewrite the terminal.
func printable(text string) string {
	return strings.Join(strings.Fields(observe.Escape(text, func(r rune) bool { return r == '\n' || r == '\t' })), " ")
}

// shorten cuts a text to at most n characters.
func shorten(text string, n int) string {
	runes := []rune(text)
	if len(runes) <= n {
		return text
	}
	return string(runes[:n-1]) + "…"
}

// printJSON writes a value as one line, all of it printable.
func printJSON(w io.Writer, value any) error {
	e := json.NewEncoder(observe.JSONLines(w))
	e.SetEscapeHTML(false)
	return e.Encode(value)
}

// stamp writes a time as every command does.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// age rounds a duration to what is worth reading.
func age(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}

// thousands separates groups of three digits: 446,889.
func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	start := len(text) % 3
	if n < 0 {
		start = (len(text)-1)%3 + 1
	}
	var b strings.Builder
	b.WriteString(text[:start])
	for i := start; i < len(text); i += 3 {
		if b.Len() > 0 && b.String() != "-" {
			b.WriteByte(',')
		}
		b.WriteString(text[i : i+3])
	}
	return b.String()
}

// plural is "1 dead letter", "2 dead letters".
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

var errNotConfirmed = errors.New("not confirmed; nothing was changed")

// confirm asks and returns nil for yes. Where in is no terminal there is nobody to ask.
func confirm(ctx context.Context, in io.Reader, out io.Writer, question string) error {
	if !terminal.Is(in) {
		return fmt.Errorf("%s Nobody to ask, since standard input is not a terminal: add --yes", question)
	}
	return ask(ctx, in, out, question)
}

func ask(ctx context.Context, in io.Reader, out io.Writer, question string) error {
	fmt.Fprintf(out, "%s [y/N] ", question)
	answer := make(chan string, 1)
	// A read of a terminal cannot be called back: after Ctrl-C it ends with the process.
	go func() {
		line, _ := bufio.NewReader(in).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case text := <-answer:
		if text == "y" || text == "yes" {
			return nil
		}
		return errNotConfirmed
	case <-ctx.Done():
		fmt.Fprintln(out)
		return errNotConfirmed
	}
}
