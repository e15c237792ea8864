package cli

import (
	"fmt"
	"time"

	"processor/internal/deadletter"
	"processor/internal/stream"
)

// Kinds of answers.
const (
	kindRow          = "row"
	kindPending      = "pending"
	kindUnread       = "unread"
	kindDeadLetter   = "dead_letter"
	kindAcknowledged = "acknowledged" // and neither a row nor known as a dead letter
	kindTrimmed      = "trimmed"
	kindUnknown      = "unknown"
	kindNotFound     = "not_found"
	kindSearched     = "searched" // how far; always last
)

// answer is a line of trace --json. What does not apply is absent.
type answer struct {
	Kind      string     `json:"kind"`
	Stream    string     `json:"stream,omitempty"`
	EntryID   string     `json:"entry_id,omitempty"`
	AddedAt   *time.Time `json:"added_at,omitempty"`
	Device    string     `json:"device_id,omitempty"`
	Fix       *time.Time `json:"ts,omitempty"`
	Committed *time.Time `json:"ingested_at,omitempty"`

	Consumer   string   `json:"consumer,omitempty"`
	Idle       *float64 `json:"idle_seconds,omitempty"`
	Deliveries int64    `json:"deliveries,omitempty"`

	// Position is 1 for the entry that is delivered next; a minimum where it is not complete.
	Position         *int64 `json:"position,omitempty"`
	PositionComplete bool   `json:"position_complete,omitempty"`

	LetterID string `json:"dead_letter_id,omitempty"`
	Reason   string `json:"reason,omitempty"`
	Detail   string `json:"detail,omitempty"`

	// Of kind searched.
	Entries       int64      `json:"entries_searched,omitempty"`
	Length        int64      `json:"entries_total,omitempty"`
	First         string     `json:"first_id,omitempty"`
	Last          string     `json:"last_id,omitempty"`
	Begins        *time.Time `json:"stream_begins_at,omitempty"`
	TrimmedUnread int64      `json:"trimmed_unread,omitempty"`
	Letters       int64      `json:"dead_letters_searched,omitempty"`
	LettersTotal  int64      `json:"dead_letters_total,omitempty"`
}

func (a *answer) pending(p stream.PendingEntry) *answer {
	a.Kind, a.Consumer, a.Idle, a.Deliveries = kindPending, p.Consumer, new(p.Idle.Seconds()), p.Deliveries
	return a
}

func letterAnswer(name string, l *deadletter.Letter) *answer {
	return &answer{Kind: kindDeadLetter, Stream: name, EntryID: l.SourceID, Device: l.Device, AddedAt: new(timeOf(l)),
		LetterID: l.ID.String(), Reason: reasonOf(&l.DeadLetter), Detail: l.Detail}
}

// say prints an answer.
func (t *tracer) say(a *answer) error {
	if a.Kind != kindUnknown {
		t.found++
	}
	return t.print(a)
}

// end prints how far the search went, after the answer that nothing was found.
func (t *tracer) end(searched *answer, nothing bool) error {
	if nothing {
		detail := "never seen, as far as it was searched"
		if t.dbErr != nil {
			detail = "not seen in Redis"
		}
		if err := t.print(&answer{Kind: kindNotFound, Stream: searched.Stream, EntryID: searched.EntryID, Device: searched.Device, Detail: detail}); err != nil {
			return err
		}
	}
	return t.print(searched)
}

func (t *tracer) print(a *answer) error {
	if t.JSON {
		return printJSON(t.out, a)
	}
	colours := map[string]colour{kindRow: green, kindDeadLetter: red, kindTrimmed: red, kindNotFound: red, kindSearched: ""}
	col, known := colours[a.Kind]
	if !known {
		col = yellow
	}
	label := fmt.Sprintf("%-12s", kindText(a.Kind))
	if col != "" {
		label = paint(t.out, col, label)
	}
	_, err := fmt.Fprintf(t.out, "%s  %s\n", label, printable(a.text(time.Now())))
	return err
}

func kindText(kind string) string {
	switch kind {
	case kindDeadLetter:
		return "dead letter"
	case kindNotFound:
		return "not found"
	}
	return kind
}

// text is one line for people.
func (a *answer) text(now time.Time) string {
	switch a.Kind {
	case kindRow:
		text := fmt.Sprintf("device %s, fix of %s, committed %s (%s ago)", a.Device, stamp(*a.Fix), stamp(*a.Committed), age(max(now.Sub(*a.Committed), 0)))
		if a.EntryID != "" {
			text += fmt.Sprintf("; entry %s of %s has its key", a.EntryID, a.Stream)
		}
		return text
	case kindPending:
		return a.head() + fmt.Sprintf(", delivered to %s %s ago, %s%s", a.Consumer, seconds(*a.Idle), plural(int(a.Deliveries), "time"), a.why())
	case kindUnread:
		position := "at position " + thousands(*a.Position)
		if !a.PositionComplete {
			position = "behind position " + thousands(*a.Position)
		}
		return a.head() + ", " + position + a.why()
	case kindDeadLetter:
		return fmt.Sprintf("%s of %s, from entry %s, %s ago: %s: %s", a.LetterID, a.Stream, orDash(a.EntryID), age(max(now.Sub(*a.AddedAt), 0)), a.Reason, orDash(a.Detail))
	case kindAcknowledged, kindTrimmed:
		return a.head() + a.why()
	case kindSearched:
		return a.searched()
	}
	return a.subject() + a.why()
}

func (a *answer) subject() string {
	switch {
	case a.EntryID != "":
		return fmt.Sprintf("entry %s of %s", a.EntryID, a.Stream)
	case a.Device != "":
		return "device " + a.Device
	}
	return a.Stream
}

// head names an entry, and its position where that is known.
func (a *answer) head() string {
	text := fmt.Sprintf("entry %s of %s, added %s", a.EntryID, a.Stream, stamp(*a.AddedAt))
	if a.Fix != nil {
		text += fmt.Sprintf(", device %s, fix of %s", a.Device, stamp(*a.Fix))
	}
	return text
}

func (a *answer) why() string {
	if a.Detail == "" {
		return ""
	}
	return ": " + a.Detail
}

func (a *answer) searched() string {
	text := fmt.Sprintf("%s of %s of %s", thousands(a.Entries), entries(a.Length), a.Stream)
	if a.First != "" {
		text += fmt.Sprintf(" (%s to %s)", a.First, a.Last)
	}
	text += fmt.Sprintf(", %s of %s dead letters", thousands(a.Letters), thousands(a.LettersTotal))
	if a.Begins != nil {
		text += "; the stream begins at " + stamp(*a.Begins)
	}
	if a.TrimmedUnread > 0 {
		text += "; " + entries(a.TrimmedUnread) + " trimmed unread"
	}
	return text
}
