package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"processor/internal/format"
	"processor/internal/status"
)

// shownConsumers bounds the consumers that are shown, those with the most pending entries; --json has all.
const shownConsumers = 20

// writeStatus writes the view for a terminal of so many columns; 0 where it is none.
func writeStatus(w io.Writer, v *status.View, width int, paint func(colour, string) string) {
	writeVerdicts(w, v, width, paint)
	server := func(name string, s status.Server) {
		if s.OK {
			fmt.Fprintf(w, "%-10s%s\n", name, paint(green, "ok"))
			return
		}
		fmt.Fprintf(w, "%-10s%s: %s\n", name, paint(red, "failed"), printable(s.Error))
	}
	server("redis", v.Redis)
	for i := range v.Streams {
		if v.Redis.OK {
			writeStream(w, &v.Streams[i], v.Group, paint)
		}
	}
	server("postgres", v.Postgres)
	switch {
	case v.Newest != nil:
		fmt.Fprintf(w, "  newest row    committed %s ago, at %s: device %s, fix of %s\n", age(max(v.Time.Sub(v.Newest.IngestedAt), 0)),
			stamp(v.Newest.IngestedAt), printable(v.Newest.DeviceID), stamp(v.Newest.Timestamp))
	case !v.Postgres.OK:
		fmt.Fprintln(w, "  newest row    unknown: PostgreSQL could not be asked")
	case !v.Redis.OK:
		fmt.Fprintln(w, "  newest row    unknown: it is found by the entries that were acknowledged last, and Redis could not be asked")
	default:
		fmt.Fprintln(w, "  newest row    unknown: none of the entries acknowledged last is a row")
	}
}

// writeVerdicts writes a line for each stream, broken at the semicolons where the terminal is narrower.
func writeVerdicts(w io.Writer, v *status.View, width int, paint func(colour, string) string) {
	levels, names := 0, 0
	for i := range v.Streams {
		levels = max(levels, len(v.Streams[i].Verdict.Level.String()))
		names = max(names, utf8.RuneCountInString(printable(v.Streams[i].Name)))
	}
	for i := range v.Streams {
		s := &v.Streams[i]
		label := fmt.Sprintf("%-*s", levels, s.Verdict.Level)
		indent := levels + 2 + names + 2
		fmt.Fprintf(w, "%s  %-*s  %s\n", paint(levelColour(s.Verdict.Level), label), names, printable(s.Name), wrapParts(printable(s.Verdict.Text), indent, width))
	}
}

// wrapParts breaks text after semicolons, so that lines that are indented by so many columns fit into the width.
func wrapParts(text string, indent, width int) string {
	var b strings.Builder
	at := indent
	for i, part := range strings.Split(text, "; ") {
		size := utf8.RuneCountInString(part)
		switch {
		case i == 0:
		case width > 0 && at+len("; ")+size+len(";") > width:
			b.WriteString(";\n" + strings.Repeat(" ", min(indent, width/2)))
			at = min(indent, width/2)
		default:
			b.WriteString("; ")
			at += len("; ")
		}
		b.WriteString(part)
		at += size
	}
	return b.String()
}

func writeStream(w io.Writer, s *status.Stream, group string, paint func(colour, string) string) {
	fmt.Fprintf(w, "  stream %s\n", printable(s.Name))
	if !s.Exists {
		fmt.Fprintf(w, "    %s\n", paint(yellow, "does not exist"))
	} else {
		fmt.Fprintf(w, "    length        %s\n", thousands(s.Length))
		fmt.Fprintf(w, "    rate          %s added, %s read, %s acknowledged\n", status.PerSecond(s.AddedRate), status.PerSecond(s.ReadRate), status.PerSecond(s.DoneRate))
		writeGroup(w, s, group, paint)
		writeLosses(w, s, paint)
	}
	dead := &s.DeadLetters
	switch {
	case dead.Total == 0:
		fmt.Fprintln(w, "    dead letters  0")
	case int64(dead.Counted) < dead.Total:
		fmt.Fprintf(w, "    dead letters  %s; of the newest %s: %s\n", paint(yellow, thousands(dead.Total)), thousands(int64(dead.Counted)), dead.ByReason)
	default:
		fmt.Fprintf(w, "    dead letters  %s: %s\n", paint(yellow, thousands(dead.Total)), dead.ByReason)
	}
}

func writeLosses(w io.Writer, s *status.Stream, paint func(colour, string) string) {
	if s.TrimmedUnread+s.TrimmedPending+s.Doubtful == 0 {
		return
	}
	fmt.Fprintf(w, "    %s          %s trimmed unread, %s trimmed while pending, %s possibly\n", paint(red, "lost"),
		thousands(s.TrimmedUnread), thousands(s.TrimmedPending), thousands(s.Doubtful))
}

func writeGroup(w io.Writer, s *status.Stream, name string, paint func(colour, string) string) {
	g := s.Group
	if g == nil {
		fmt.Fprintf(w, "    group         %s\n", paint(yellow, printable(name)+" does not exist"))
		return
	}
	lag := "unknown"
	if g.Lag != nil {
		lag = thousands(*g.Lag)
	}
	if s.OldestUnread != nil {
		lag += " (the oldest added " + seconds(*s.OldestUnread) + " ago)"
	}
	pending := thousands(g.Pending)
	if g.Oldest != nil {
		pending += " (the oldest added " + seconds(*g.Oldest) + " ago)"
	}
	fmt.Fprintf(w, "    group         %s: lag %s, pending %s\n", printable(name), lag, pending)
	shown := slices.Clone(g.Consumers)
	slices.SortStableFunc(shown, func(a, b status.Consumer) int { return cmp.Compare(b.Pending, a.Pending) })
	more := max(len(shown)-shownConsumers, 0)
	shown = shown[:len(shown)-more]
	width := 0
	for _, c := range shown {
		width = max(width, utf8.RuneCountInString(printable(c.Name)))
	}
	for i, c := range shown {
		label := ""
		if i == 0 {
			label = "consumers"
		}
		fmt.Fprintf(w, "    %-12s  %-*s  pending %s, idle %s\n", label, width, printable(c.Name), thousands(c.Pending), seconds(c.Idle))
	}
	if more > 0 {
		fmt.Fprintf(w, "    %-12s  %s more, with at most %s pending each\n", "", thousands(int64(more)), thousands(shown[len(shown)-1].Pending))
	}
}

func levelColour(l status.Level) colour { return [...]colour{green, yellow, yellow, red}[l] }

func seconds(s float64) string { return age(format.Seconds(s)) }

// fit cuts a view to so many columns and rows. What is cut off below is named in the last row.
func fit(view string, cols, rows int) string {
	lines := strings.Split(strings.TrimSuffix(view, "\n"), "\n")
	if more := len(lines) - rows; more > 0 && rows > 1 {
		lines = append(lines[:rows-1], fmt.Sprintf("… %d more lines; enlarge the terminal", more+1))
	}
	for i, line := range lines {
		lines[i] = cutLine(line, cols)
	}
	return strings.Join(lines, "\n") + "\n"
}

// cutLine cuts a line to so many columns. Colours take none, and end where the line does.
func cutLine(line string, cols int) string {
	at, coloured := 0, false
	for i := 0; i < len(line); {
		if strings.HasPrefix(line[i:], "\x1b[") {
			end := i + strings.IndexByte(line[i:], 'm') + 1
			coloured = line[i:end] != "\x1b[0m"
			i = end
			continue
		}
		_, size := utf8.DecodeRuneInString(line[i:])
		if at++; at > cols {
			if coloured {
				return line[:i] + "\x1b[0m"
			}
			return line[:i]
		}
		i += size
	}
	return line
}
