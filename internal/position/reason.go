package position

import (
	"fmt"
	"slices"
	"strings"
)

// Reasons of the steps after decoding.
const (
	// RejectedByDatabase: the database refuses the row for its values.
	RejectedByDatabase Reason = "rejected_by_database"
	// TimestampOutOfWindow: the fix is older than --max-age, or further ahead than --max-future.
	TimestampOutOfWindow Reason = "timestamp_out_of_window"
	// DeliveredTooOften: delivered over --max-deliveries times, and refused without a rule or found
	// to end the process.
	DeliveredTooOften Reason = "delivered_too_often"
	// TooLarge: the entry is larger than --max-entry-bytes. The dead letter keeps its beginning.
	TooLarge Reason = "too_large"
)

// Reasons lists every reason of a dead letter.
func Reasons() []Reason {
	return []Reason{
		NotJSON, MissingKey, WrongType, OutOfRange, MalformedSentinel, UnstorableString,
		UnstorableNumber, TooDeep, RejectedByDatabase, TimestampOutOfWindow, DeliveredTooOften, TooLarge,
	}
}

// UnmarshalText implements encoding.TextUnmarshaler. It accepts what is in Reasons only.
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
