package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"processor/internal/format"
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

// The names under which every command uses package format.
func printable(text string) string     { return format.Line(text) }
func stamp(t time.Time) string         { return format.Stamp(t) }
func age(d time.Duration) string       { return format.Age(d) }
func thousands(n int64) string         { return format.Thousands(n) }
func plural(n int, what string) string { return format.Plural(n, what) }
func orDash(text string) string        { return format.OrDash(text) }

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
