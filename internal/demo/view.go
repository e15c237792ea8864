package demo

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// style is the style of a line on a terminal with colours.
type style int

const (
	plain style = iota
	title
	faint
	alarm
)

// line is one line of the view.
type line struct {
	style style
	text  string
}

// view formats a snapshot for a terminal of width columns and height rows. Except for the text of a
// warning the result is ASCII.
func view(s snapshot, width, height int) []line {
	span := ""
	if s.phase == ended {
		span = "whole run"
	}
	lines := []line{
		{title, spread(fmt.Sprintf("processor demo: %s devices, target %s positions/s", thousands(s.devices), thousands(s.rate)), s.status(), width)},
		{},
		{faint, fmt.Sprintf("%-11s%12s%12s      %-14s%10s%10s", span, "positions", "per second", "", "p50", "p99")},
		{plain, fmt.Sprintf("%-11s%12s%12s      %-14s%10s%10s", "published", thousands(s.published), thousands(round(s.publishedRate)), "write", latency(s.write.p50), latency(s.write.p99))},
		{plain, fmt.Sprintf("%-11s%12s%12s      %-14s%10s%10s", "stored", thousands(s.ledger.Inserted), thousands(round(s.storedRate)), "commit delay", latency(s.delay.p50), latency(s.delay.p99))},
		{plain, fmt.Sprintf("%-11s%12s%12s      %-14s%10s", "lag", thousands(s.lag()), "", "devices", thousands(s.seen))},
		{},
	}
	for i, text := range wrap(s.ledger.String(), " + ", width-11) {
		label := ""
		if i == 0 {
			label = "ledger"
		}
		lines = append(lines, line{plain, fmt.Sprintf("%-11s%s", label, text)})
	}
	if s.warning.text != "" {
		lines = append(lines, line{}, line{alarm, s.warning.at.UTC().Format(time.TimeOnly) + " " + s.warning.text})
	}
	lines = append(lines, line{}, line{faint, fmt.Sprintf("%-17s%-14s%10s%11s%6s%9s%6s", "newest", "fix (UTC)", "latitude", "longitude", "km/h", "heading", "sats")})
	for _, d := range s.newest {
		p := d.LastPosition
		lines = append(lines, line{plain, fmt.Sprintf("%-17s%-14s%10.5f%11.5f%6.0f%9.0f%6d",
			d.DeviceID, p.Timestamp.Format("15:04:05.000"), p.Latitude, p.Longitude, p.Speed, p.Angle, p.Satellites)})
	}
	lines = lines[:max(min(len(lines), height), 0)]
	for i := range lines {
		lines[i].text = cut(strings.TrimRight(lines[i].text, " "), width)
	}
	return lines
}

// status returns the elapsed time, or what the demo is waiting for.
func (s snapshot) status() string {
	elapsed := s.elapsed.Truncate(time.Second)
	switch {
	case s.phase == draining:
		return fmt.Sprintf("storing the last %s", thousands(s.published-min(s.ledger.Inserted, s.published)))
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
	text := fmt.Sprintf("%4s  published %s (%s/s)  stored %s (%s/s)  lag %s  write p50 %s p99 %s  commit delay p50 %s p99 %s  devices %s",
		label, thousands(s.published), thousands(round(s.publishedRate)),
		thousands(s.ledger.Inserted), thousands(round(s.storedRate)), thousands(s.lag()),
		latency(s.write.p50), latency(s.write.p99), latency(s.delay.p50), latency(s.delay.p99), thousands(s.seen))
	if s.phase == draining {
		text += "  " + s.status()
	}
	return text
}

// thousands formats a count with commas: 1,234,567.
func thousands[T int | int64 | uint64](n T) string {
	digits := strconv.FormatInt(int64(n), 10)
	first := (len(digits)-1)%3 + 1
	text := digits[:first]
	for rest := digits[first:]; rest != ""; rest = rest[3:] {
		text += "," + rest[:3]
	}
	return text
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

// cut truncates text to width characters.
func cut(text string, width int) string {
	runes := []rune(text)
	if len(runes) <= width {
		return text
	}
	return string(runes[:max(width, 0)])
}
