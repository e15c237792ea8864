package position

// Reason is why a payload cannot become a position. The set is closed: it labels dead letters and metrics.
type Reason string

// Reasons why a payload cannot become a row.
const (
	// NotJSON: the payload is not one JSON object in valid UTF-8, or the entry has none.
	NotJSON Reason = "not_json"
	// MissingKey: a required key is absent.
	MissingKey Reason = "missing_key"
	// WrongType: a key holds another JSON type than the contract says.
	WrongType Reason = "wrong_type"
	// OutOfRange: the type is right, the value is not possible.
	OutOfRange Reason = "out_of_range"
	// MalformedSentinel: __bigint without canonical decimal digits, or __buffer_b64 without
	// canonical base64.
	MalformedSentinel Reason = "malformed_sentinel"
	// UnstorableString: U+0000 or an unpaired surrogate, which jsonb and text cannot hold.
	UnstorableString Reason = "unstorable_string"
	// UnstorableNumber: more digits than numeric, and so jsonb, can hold, or far more of them than its text.
	UnstorableNumber Reason = "unstorable_number"
	// TooDeep: attributes nest deeper than MaxDepth.
	TooDeep Reason = "too_deep"
)

// Error says why a payload is no position, and which of its keys is at fault.
type Error struct {
	Reason Reason
	// Key is the top-level key at fault; empty where the payload as a whole is.
	Key string
	// Detail is for people. It never holds coordinates.
	Detail string
}

// Error implements error.
func (e *Error) Error() string {
	text := string(e.Reason)
	if e.Key != "" {
		text = e.Key + ": " + text
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}
