package deadletter

import (
	"fmt"
	"slices"
	"strings"

	"processor/internal/position"
)

// Reason is why an entry became a dead letter. The set is closed: it labels metrics and is what
// one can filter by.
type Reason string

// Reasons: those of decoding, and those of the steps after it.
const (
	NotJSON           = Reason(position.NotJSON)
	MissingKey        = Reason(position.MissingKey)
	WrongType         = Reason(position.WrongType)
	OutOfRange        = Reason(position.OutOfRange)
	MalformedSentinel = Reason(position.MalformedSentinel)
	UnstorableString  = Reason(position.UnstorableString)
	UnstorableNumber  = Reason(position.UnstorableNumber)
	TooDeep           = Reason(position.TooDeep)

	// RejectedByDatabase: the row alone met an error that lies in its values; the letter has
	// the SQLSTATE.
	RejectedByDatabase Reason = "rejected_by_database"
	// TimestampOutOfWindow: the fix is older than --max-age, or further ahead than --max-future.
	TimestampOutOfWindow Reason = "timestamp_out_of_window"
	// DeliveredTooOften: delivered over --max-deliveries times, and failed alone as well.
	DeliveredTooOften Reason = "delivered_too_often"
	// TooLarge: the entry is larger than --max-entry-bytes. The letter keeps its beginning.
	TooLarge Reason = "too_large"
)

// Reasons lists them all.
func Reasons() []Reason {
	return []Reason{
		NotJSON, MissingKey, WrongType, OutOfRange, MalformedSentinel, UnstorableString,
		UnstorableNumber, TooDeep, RejectedByDatabase, TimestampOutOfWindow, DeliveredTooOften, TooLarge,
	}
}

// UnmarshalText implements encoding.TextUnmarshaler. It takes what is in Reasons only.
func (r *Reason) UnmarshalText(text []byte) error {
	if !slices.Contains(Reasons(), Reason(text)) {
		names := make([]string, len(Reasons()))
		for i, known := range Reasons() {
			names[i] = string(known)
		}
		return fmt.Errorf("%q is not one of %s", text, strings.Join(names, ", "))
	}
	*r = Reason(text)
	return nil
}
