package trace

import (
	"fmt"
	"time"

	"processor/internal/deadletter"
	"processor/internal/format"
	"processor/internal/stream"
)

// Kinds of answers.
const (
	Row          = "row"
	Pending      = "pending"
	Unread       = "unread"
	DeadLetter   = "dead_letter"
	Acknowledged = "acknowledged" // and neither a row nor known as a dead letter
	Trimmed      = "trimmed"
	Unknown      = "unknown"
	NotFound     = "not_found"
	Searched     = "searched" // how far; always last
)

// Answer is a line of trace --json. What does not apply is absent.
type Answer struct {
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

func (a *Answer) pending(p stream.PendingEntry) *Answer {
	a.Kind, a.Consumer, a.Idle, a.Deliveries = Pending, p.Consumer, new(p.Idle.Seconds()), p.Deliveries
	return a
}

func letterAnswer(name string, l *deadletter.Letter) *Answer {
	return &Answer{Kind: DeadLetter, Stream: name, EntryID: l.SourceID, Device: l.Device, AddedAt: new(l.At()),
		LetterID: l.ID.String(), Reason: l.ReasonText(), Detail: l.Detail}
}

// say prints an answer.
func (t *Search) say(a *Answer) error {
	if a.Kind != Unknown {
		t.found++
	}
	return t.Say(a)
}

// end prints how far the search went, after the answer that nothing was found.
func (t *Search) end(searched *Answer, nothing bool) error {
	if nothing {
		detail := "never seen, as far as it was searched"
		if t.dbErr != nil {
			detail = "not seen in Redis"
		}
		if err := t.Say(&Answer{Kind: NotFound, Stream: searched.Stream, EntryID: searched.EntryID, Device: searched.Device, Detail: detail}); err != nil {
			return err
		}
	}
	return t.Say(searched)
}

// KindText is the kind for people.
func (a *Answer) KindText() string {
	switch a.Kind {
	case DeadLetter:
		return "dead letter"
	case NotFound:
		return "not found"
	}
	return a.Kind
}

// Text is one line for people.
func (a *Answer) Text(now time.Time) string {
	switch a.Kind {
	case Row:
		text := fmt.Sprintf("device %s, fix of %s, committed %s (%s ago)", a.Device, format.Stamp(*a.Fix), format.Stamp(*a.Committed), format.Age(max(now.Sub(*a.Committed), 0)))
		if a.EntryID != "" {
			text += fmt.Sprintf("; entry %s of %s has its key", a.EntryID, a.Stream)
		}
		return text
	case Pending:
		return a.head() + fmt.Sprintf(", delivered to %s %s ago, %s%s", a.Consumer, format.Age(format.Seconds(*a.Idle)), format.Plural(int(a.Deliveries), "time"), a.why())
	case Unread:
		position := "at position " + format.Thousands(*a.Position)
		if !a.PositionComplete {
			position = "behind position " + format.Thousands(*a.Position)
		}
		return a.head() + ", " + position + a.why()
	case DeadLetter:
		return fmt.Sprintf("%s of %s, from entry %s, %s ago: %s: %s", a.LetterID, a.Stream, format.OrDash(a.EntryID), format.Age(max(now.Sub(*a.AddedAt), 0)), a.Reason, format.OrDash(a.Detail))
	case Acknowledged, Trimmed:
		return a.head() + a.why()
	case Searched:
		return a.searched()
	}
	return a.subject() + a.why()
}

func (a *Answer) subject() string {
	switch {
	case a.EntryID != "":
		return fmt.Sprintf("entry %s of %s", a.EntryID, a.Stream)
	case a.Device != "":
		return "device " + a.Device
	}
	return a.Stream
}

// head names an entry, and its position where that is known.
func (a *Answer) head() string {
	text := fmt.Sprintf("entry %s of %s, added %s", a.EntryID, a.Stream, format.Stamp(*a.AddedAt))
	if a.Fix != nil {
		text += fmt.Sprintf(", device %s, fix of %s", a.Device, format.Stamp(*a.Fix))
	}
	return text
}

func (a *Answer) why() string {
	if a.Detail == "" {
		return ""
	}
	return ": " + a.Detail
}

func (a *Answer) searched() string {
	text := fmt.Sprintf("%s of %s of %s", format.Thousands(a.Entries), format.Entries(a.Length), a.Stream)
	if a.First != "" {
		text += fmt.Sprintf(" (%s to %s)", a.First, a.Last)
	}
	text += fmt.Sprintf(", %s of %s dead letters", format.Thousands(a.Letters), format.Thousands(a.LettersTotal))
	if a.Begins != nil {
		text += "; the stream begins at " + format.Stamp(*a.Begins)
	}
	if a.TrimmedUnread > 0 {
		text += "; " + format.Entries(a.TrimmedUnread) + " trimmed unread"
	}
	return text
}
