// Package position decodes the payloads that tcp-ingestion writes to the stream into positions: see Decoder
// and Error, then decode.go, split.go, timestamp.go, attributes.go and numeric.go.
package position

import "time"

// Position is one record of a tracker: a fix and the values of its IO elements.
type Position struct {
	// DeviceID identifies the tracker, as a rule its IMEI: 1 to 64 bytes, printable.
	DeviceID string
	// Timestamp is the time of the fix by the tracker's clock, in UTC, with no more than
	// the microseconds that timestamptz keeps: two positions have one key exactly where
	// they would meet in one row.
	Timestamp time.Time
	// Latitude and Longitude are degrees, WGS 84, as sent: a tracker without a fix may send
	// what is no place on Earth.
	Latitude, Longitude float64
	// Altitude is metres, Angle degrees clockwise from north, Speed km/h.
	Altitude, Angle, Speed float32
	// Satellites used for the fix; Priority as the tracker gave it.
	Satellites, Priority uint8
	// Attributes is a JSON object that jsonb accepts, in memory that Decode describes.
	Attributes []byte
}
