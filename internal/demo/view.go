package demo

import (
	"fmt"
	"math"
	"strings"
	"time"

	"processor/internal/format"
)

// style is the style of a line on a terminal with colours.
type style int

const (
	plain style = iota
	title
	faint
	alarm
	failing
)

// line is one line of the view.
type line struct {
	style style
	text  string
}

// view formats a snapshot for a terminal of width columns and height rows. Except for the text of errors the result
// is ASCII.
func view(s snapshot, width, height int) []line {
	span := ""
	if s.phase == ended {
		span = "whole run"
	}
	figures := func(label string, count, rate any, name string, q quantiles) line {
		return line{plain, fmt.Sprintf("%-11s%12s%12s      %-14s%10s%10s", label, count, rate, name, latency(q.p50), latency(q.p99))}
	}
	rows := thousands(s.rows)
	if !s.rowsKnown {
		rows += "?"
	}
	lines := []line{
		{title, spread(fmt.Sprintf("processor demo: %s devices, target %s positions/s", thousands(s.devices), thousands(s.rate)), s.status(), width)},
		{},
		{faint, fmt.Sprintf("%-11s%12s%12s      %-14s%10s%10s", span, "positions", "per second", "", "p50", "p99")},
		figures("published", thousands(s.published), thousands(round(s.publishedRate)), "write", s.write),
		figures("rows", rows, thousands(round(s.storedRate)), "commit delay", s.delay),
		{plain, fmt.Sprintf("%-11s%12s%12s      %-14s%10s", "unread", thousands(s.lag), "", "unchanged", thousands(s.sum.ledger.Unchanged))},
		{plain, fmt.Sprintf("%-11s%12s%12s      %-14s%10s", "pending", thousands(s.pending), "", "dead letters", thousands(s.letters.total))},
		{},
	}
	lines = append(lines, s.worker())
	lines = append(lines, s.failing()...)
	if s.letters.total > 0 {
		lines = append(lines, labelled("reasons", s.letters.reasons(), ", ", width)...)
	}
	lines = append(lines, line{plain, fmt.Sprintf("%-11s%s, %s, %s, %s bad", "so far", plural(uint64(s.kills), "kill"),
		plural(uint64(s.outages), "outage"), plural(s.duplicates, "duplicate"), thousands(s.bad))})
	if s.warning.text != "" {
		lines = append(lines, line{alarm, s.warning.at.UTC().Format(time.TimeOnly) + " " + s.warning.text})
	}
	if s.keys && s.phase == publishing {
		lines = append(lines, line{})
		for _, text := range wrap(keysHelp(), "  ", width) {
			lines = append(lines, line{title, text})
		}
	}
	lines = lines[:max(min(len(lines), height), 0)]
	for i := range lines {
		lines[i].text = cut(strings.TrimRight(lines[i].text, " "), width)
	}
	return lines
}

// labelled returns text as lines with a label before the first one.
func labelled(label, text, separator string, width int) (lines []line) {
	for _, part := range wrap(text, separator, width-11) {
		lines = append(lines, line{plain, fmt.Sprintf("%-11s%s", label, strings.TrimPrefix(part, separator))})
		label = ""
	}
	return lines
}

// worker describes the worker and its checks.
func (s snapshot) worker() line {
	switch {
	case s.pid == 0 && s.starts == 0:
		return line{faint, "worker     is starting"}
	case s.pid == 0:
		return line{failing, "worker     is not running"}
	case len(s.checks) == 0:
		return line{alarm, fmt.Sprintf("worker     pid %d does not answer yet", s.pid)}
	}
	var names []string
	for _, c := range s.checks {
		if c.OK {
			names = append(names, c.name)
		}
	}
	return line{plain, fmt.Sprintf("worker     pid %d; checks ok: %s", s.pid, strings.Join(names, ", "))}
}

// failing lists the checks that fail.
func (s snapshot) failing() (lines []line) {
	for _, c := range s.checks {
		if !c.OK {
			lines = append(lines, line{failing, fmt.Sprintf("  FAILING  %s: %s", c.name, c.Error)})
		}
	}
	return lines
}

// status returns the elapsed time, or what the demo is waiting for.
func (s snapshot) status() string {
	elapsed := s.elapsed.Truncate(time.Second)
	switch {
	case s.phase == draining:
		return fmt.Sprintf("storing the last %s", thousands(s.lag+uint64(s.pending)))
	case s.phase == ended:
		return "ended"
	case s.limit > 0:
		return fmt.Sprintf("%s of %s, Ctrl-C to stop", elapsed, s.limit)
	}
	return fmt.Sprintf("%s, Ctrl-C to stop", elapsed)
}

// summary returns the snapshot as one line, for output that is not a terminal.
func (s snapshot) summary() string {
	label := s.elapsed.Truncate(time.Second).String()
	if s.phase == ended {
		label = "all"
	}
	text := fmt.Sprintf("%4s  published %s (%s/s)  rows %s (%s/s)  unread %s  pending %s  unchanged %s  dead letters %s  write p50 %s p99 %s  commit delay p50 %s p99 %s",
		label, thousands(s.published), thousands(round(s.publishedRate)), thousands(s.rows), thousands(round(s.storedRate)),
		thousands(s.lag), thousands(s.pending), thousands(s.sum.ledger.Unchanged), thousands(s.letters.total),
		latency(s.write.p50), latency(s.write.p99), latency(s.delay.p50), latency(s.delay.p99))
	if s.phase == draining {
		text += "  " + s.status()
	}
	if s.pid == 0 && s.phase != ended {
		text += "  WORKER NOT RUNNING"
	}
	for _, l := range s.failing() {
		text += "  " + strings.TrimSpace(l.text)
	}
	return text
}

// thousands formats a count with commas: 1,234,567.
func thousands[T int | int64 | uint64](n T) string {
	return format.Thousands(int64(n))
}

func round(rate float64) int64 { return int64(math.Round(rate)) }

// latency formats seconds with about three significant digits, and NaN as "-".
func latency(seconds float64) string {
	switch {
	case math.IsNaN(seconds):
		return "-"
	case seconds < 0.01:
		return fmt.Sprintf("%.2f ms", seconds*1000)
	case seconds < 1:
		return fmt.Sprintf("%.0f ms", seconds*1000)
	}
	return fmt.Sprintf("%.1f s", seconds)
}

// spread returns a line of width columns with left and right at its ends.
func spread(left, right string, width int) string {
	return left + strings.Repeat(" ", max(width-len(left)-len(right), 2)) + right
}

// wrap splits text before separators into lines of at most width characters. A part that is longer
// becomes a longer line.
func wrap(text, separator string, width int) []string {
	var lines []string
	current := ""
	for i, part := range strings.Split(text, separator) {
		if i > 0 {
			part = separator + part
		}
		if current != "" && len(current)+len(part) > width {
			lines, current = append(lines, current), strings.TrimLeft(part, " ")
			continue
		}
		current += part
	}
	return append(lines, current)
}

// wrapWords splits text into lines of at most width characters, between words where it can.
func wrapWords(text string, width int) []string {
	var lines []string
	for _, part := range wrap(text, " ", width) {
		for width > 0 && len([]rune(part)) > width {
			lines, part = append(lines, cut(part, width)), string([]rune(part)[width:])
		}
		lines = append(lines, part)
	}
	return lines
}

// cut truncates text to width characters.
func cut(text string, width int) string {
	runes := []rune(text)
	if len(runes) <= width {
		return text
	}
	return string(runes[:max(width, 0)])
}
