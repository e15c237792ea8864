package deadletter

import "processor/internal/position"

// Reason is why an entry became a dead letter. The set is closed: it labels metrics, and dead letters
// are filtered by it.
type Reason = position.Reason

// Window bounds the time of a fix against now.
type Window = position.Window

// Reasons, as package position defines them.
const (
	NotJSON              = position.NotJSON
	MissingKey           = position.MissingKey
	WrongType            = position.WrongType
	OutOfRange           = position.OutOfRange
	MalformedSentinel    = position.MalformedSentinel
	UnstorableString     = position.UnstorableString
	UnstorableNumber     = position.UnstorableNumber
	TooDeep              = position.TooDeep
	RejectedByDatabase   = position.RejectedByDatabase
	TimestampOutOfWindow = position.TimestampOutOfWindow
	DeliveredTooOften    = position.DeliveredTooOften
	TooLarge             = position.TooLarge
)

// Reasons lists them all.
func Reasons() []Reason { return position.Reasons() }
