package demo

import (
	"fmt"
	"strings"
)

// result holds the final counts of a demo.
type result struct {
	kills, outages int
	duplicates     uint64
	// positions and bad count what Redis confirmed, duplicates apart. Of what it did not confirm, because its reply
	// was lost, any number may be on the stream.
	positions, positionsUnconfirmed uint64
	bad, badUnconfirmed             uint64

	rows uint64 // in the table
	// badLetters counts the bad entries among the dead letters, otherLetters the dead letters of anything else.
	badLetters, otherLetters uint64
	unread                   bool // the stream was not drained
}

// check returns an error, with the counts, unless every position published is one row and every bad entry is one
// dead letter.
func (r result) check() error {
	var wrong []string
	differ := func(what string, got, least, unconfirmed uint64) {
		switch {
		case got < least:
			wrong = append(wrong, plural(least-got, what)+" missing")
		case got > least+unconfirmed:
			wrong = append(wrong, plural(got-least-unconfirmed, what)+" too many")
		}
	}
	differ("row", r.rows, r.positions, r.positionsUnconfirmed)
	differ("dead letter", r.badLetters, r.bad, r.badUnconfirmed)
	differ("other dead letter", r.otherLetters, 0, 0)
	if r.unread {
		wrong = append(wrong, "entries are still unread or pending")
	}
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %s published, but %s + %s (%s)", r.faults(), thousands(r.positions+r.bad),
		plural(r.rows, "row"), plural(r.badLetters+r.otherLetters, "dead letter"), strings.Join(wrong, ", "))
}

// String describes a result for which check returned nil.
func (r result) String() string {
	// What was stored was published, also where Redis's reply was lost.
	published := r.rows + r.badLetters
	text := fmt.Sprintf("%s: %s published = %s + %s", r.faults(), thousands(published),
		plural(r.rows, "row"), plural(r.badLetters, "dead letter"))
	if lost := published - r.positions - r.bad; lost > 0 {
		text += fmt.Sprintf(" (Redis did not confirm %s of them)", thousands(lost))
	}
	return text
}

func (r result) faults() string {
	return fmt.Sprintf("%s, %s, %s, %s bad", plural(uint64(r.kills), "kill"), plural(uint64(r.outages), "outage"),
		plural(r.duplicates, "duplicate"), thousands(r.bad))
}

// plural formats "1 row", "2 rows".
func plural(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return thousands(n) + " " + what + "s"
}
