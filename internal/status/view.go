package status

import (
	"time"

	"processor/internal/deadletter"
)

// View is one state of everything, as --json writes it. What is not known is null.
type View struct {
	Time time.Time `json:"time"`
	// Verdict is the worst level of the streams, which are in the order of theirs.
	Verdict  Level    `json:"verdict"`
	Redis    Server   `json:"redis"`
	Postgres Server   `json:"postgres"`
	Group    string   `json:"group"`
	Streams  []Stream `json:"streams"`
	Newest   *Row     `json:"newest_row"`
}

// Server reports whether a server could be asked.
type Server struct {
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// Stream is the state of one stream.
type Stream struct {
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	Exists  bool    `json:"exists"`
	Length  int64   `json:"length"`
	// Rates are in entries per second, over the time between two looks.
	AddedRate *float64 `json:"added_per_second"`
	ReadRate  *float64 `json:"read_per_second"`
	DoneRate  *float64 `json:"acknowledged_per_second"`

	OldestUnread *float64 `json:"oldest_unread_seconds"`
	CatchUp      *float64 `json:"catch_up_seconds"`
	Trim         *float64 `json:"trim_reaches_unread_seconds"`
	// TrimAtLeast: nothing was trimmed between the looks, so that it may take longer.
	TrimAtLeast bool `json:"trim_reaches_unread_or_later"`

	TrimmedUnread  int64 `json:"trimmed_unread"`
	TrimmedPending int64 `json:"trimmed_pending"`
	Doubtful       int64 `json:"possibly_trimmed_unread"`

	Group       *Group      `json:"group"`
	DeadLetters DeadLetters `json:"dead_letters"`
}

// Group is the consumer group of a stream; nil where it does not exist.
type Group struct {
	Lag       *int64     `json:"lag"`
	Pending   int64      `json:"pending"`
	Oldest    *float64   `json:"oldest_pending_seconds"`
	Consumers []Consumer `json:"consumers"`
}

// Consumer is a member of a group.
type Consumer struct {
	Name    string  `json:"name"`
	Pending int64   `json:"pending"`
	Idle    float64 `json:"idle_seconds"`
}

// DeadLetters counts the dead letters of a stream.
type DeadLetters struct {
	Total int64 `json:"total"`
	// Counted is how many of them, the newest, ByReason is about.
	Counted  int              `json:"counted"`
	ByReason deadletter.Tally `json:"by_reason"`
}

// Row is a row of positions, without its values.
type Row struct {
	DeviceID   string    `json:"device_id"`
	Timestamp  time.Time `json:"ts"`
	IngestedAt time.Time `json:"ingested_at"`
}
