// Package format writes numbers, times and texts from outside as every command and the console show them.
package format

import (
	"strconv"
	"strings"
	"time"

	"processor/internal/observe"
)

// Line makes one line of a text from outside, which may hold anything: control characters could rewrite the terminal.
func Line(text string) string {
	return strings.Join(strings.Fields(observe.Escape(text, func(r rune) bool { return r == '\n' || r == '\t' })), " ")
}

// Stamp writes a time as every command does.
func Stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// Age rounds a duration to what is worth reading.
func Age(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}

// Span rounds a duration to whole seconds, or to milliseconds where it is shorter than one.
func Span(d time.Duration) string {
	if d >= time.Second {
		d = d.Round(time.Second)
	}
	return Age(d)
}

// Seconds is a number of seconds as a duration.
func Seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Thousands separates groups of three digits: 446,889.
func Thousands(n int64) string {
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

// Entries is "1 entry", "446,889 entries".
func Entries(n int64) string {
	if n == 1 {
		return "1 entry"
	}
	return Thousands(n) + " entries"
}

// Plural is "1 dead letter", "2 dead letters".
func Plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// OrDash is the text, or a dash for an empty one.
func OrDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
