package position

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-faster/jx"
)

const maxDeviceIDBytes = 64

// Bounds of what a tracker can send, not of what is possible on Earth: a Teltonika frame has
// degrees as a signed 32-bit integer of 1e-7 degrees and the heading as an unsigned 16-bit
// integer, and trackers without a fix fill them with anything (10 of the corpus' 50 records).
// Such a record is a row too: dropping what a tracker sent is not this service's decision.
const (
	maxDegrees = 214.7483648
	maxAngle   = math.MaxUint16
)

// Decoder turns payloads into positions. Attributes that have to be rewritten lie in a few
// buffers for all positions since the last Reset, so that a batch costs a few allocations rather
// than thousands. The zero Decoder is ready; it is not safe for concurrent use.
type Decoder struct {
	json jx.Decoder
	// escaped: the payload holds a backslash somewhere, which is rare.
	escaped bool
	// bag reads attributes that are rewritten, out takes them.
	bag jx.Decoder
	out jx.Writer
	// full are buffers that out had before, free those that it may have. One that grew instead
	// would be alive several times over: the positions before hold on to what it was.
	full, free [][]byte
}

// leastBuffer is the least size of a buffer for rewritten attributes.
const leastBuffer = 64 << 10

// reserve makes room for n more bytes of rewritten attributes.
func (d *Decoder) reserve(n int) {
	if cap(d.out.Buf)-len(d.out.Buf) >= n {
		return
	}
	d.full = append(d.full, d.out.Buf)
	if last := len(d.free) - 1; last >= 0 && cap(d.free[last]) >= n {
		d.out.Buf = d.free[last]
		d.free[last] = nil
		d.free = d.free[:last]
		return
	}
	d.out.Buf = make([]byte, 0, max(4*n, leastBuffer)) // the rest of it is not wasted on the next bag
}

// Reset takes the decoder's memory back for reuse: the Attributes of every position decoded
// since the last Reset become invalid.
func (d *Decoder) Reset() {
	d.json.ResetBytes(nil)
	d.bag.ResetBytes(nil)
	d.out.Buf = d.out.Buf[:0]
	clear(d.free) // what the last batch had no use for
	d.free = d.free[:0]
	for _, buf := range d.full {
		d.free = append(d.free, buf[:0])
	}
	clear(d.full)
	d.full = d.full[:0]
}

// The required keys, as bits of what has been seen.
const (
	keyDeviceID = 1 << iota
	keyTimestamp
	keyLatitude
	keyLongitude
	keyAltitude
	keyAngle
	keySpeed
	keySatellites
	keyPriority
	allKeys = 1<<iota - 1
)

// Decode reads one payload: what JavaScript's JSON.stringify made of a record. Unknown
// top-level keys are ignored. The position's Attributes lie in the payload or in the decoder's
// memory: they are valid until the payload changes or Reset is called. Every error is an *Error.
func (d *Decoder) Decode(payload []byte) (Position, error) {
	if !utf8.Valid(payload) {
		return Position{}, &Error{Reason: NotJSON, Detail: "not valid UTF-8"}
	}
	d.json.ResetBytes(payload)
	d.escaped = bytes.IndexByte(payload, '\\') >= 0
	if d.json.Next() != jx.Object {
		return Position{}, &Error{Reason: NotJSON, Detail: "not an object"}
	}
	keys, err := d.json.ObjIter()
	if err != nil {
		return Position{}, notJSON(err)
	}

	var (
		p    Position
		seen int
	)
	for keys.Next() {
		switch string(keys.Key()) {
		case "device_id":
			seen |= keyDeviceID
			p.DeviceID, err = d.deviceID()
		case "timestamp":
			seen |= keyTimestamp
			p.Timestamp, err = d.timestamp()
		case "latitude":
			seen |= keyLatitude
			p.Latitude, err = d.float("latitude", -maxDegrees, maxDegrees)
		case "longitude":
			seen |= keyLongitude
			p.Longitude, err = d.float("longitude", -maxDegrees, maxDegrees)
		case "altitude":
			seen |= keyAltitude
			p.Altitude, err = d.real("altitude", -math.MaxFloat32, math.MaxFloat32)
		case "angle":
			seen |= keyAngle
			p.Angle, err = d.real("angle", 0, maxAngle)
		case "speed":
			seen |= keySpeed
			p.Speed, err = d.real("speed", 0, math.MaxFloat32)
		case "satellites":
			seen |= keySatellites
			p.Satellites, err = d.uint8("satellites")
		case "priority":
			seen |= keyPriority
			p.Priority, err = d.uint8("priority")
		case "attributes":
			p.Attributes, err = d.attributes()
		default:
			err = d.json.Skip()
		}
		if err != nil {
			return Position{}, asError(err)
		}
	}
	if err := keys.Err(); err != nil {
		return Position{}, notJSON(err)
	}
	if err := d.json.Skip(); !errors.Is(err, io.EOF) {
		return Position{}, &Error{Reason: NotJSON, Detail: "something follows the object"}
	}
	if seen != allKeys {
		return Position{}, &Error{Reason: MissingKey, Key: firstMissing(seen)}
	}
	if p.Attributes == nil {
		p.Attributes = []byte("{}")
	}
	return p, nil
}

// asError leaves an *Error as it is: whatever else comes up is the JSON library's complaint.
func asError(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return notJSON(err)
}

func notJSON(err error) *Error {
	return &Error{Reason: NotJSON, Detail: err.Error()}
}

func firstMissing(seen int) string {
	names := [...]string{"device_id", "timestamp", "latitude", "longitude", "altitude", "angle", "speed", "satellites", "priority"}
	for i, name := range names {
		if seen&(1<<i) == 0 {
			return name
		}
	}
	return ""
}

func (d *Decoder) expect(key string, want jx.Type) error {
	got := d.json.Next()
	if got == want {
		return nil
	}
	if got == jx.Invalid {
		return d.json.Skip() // the library says what is wrong and where
	}
	return &Error{Reason: WrongType, Key: key, Detail: fmt.Sprintf("%s instead of %s", got, want)}
}

func (d *Decoder) deviceID() (string, error) {
	const key = "device_id"
	if err := d.expect(key, jx.String); err != nil {
		return "", err
	}
	raw, err := d.json.Raw()
	if err != nil {
		return "", err
	}
	id := raw[1 : len(raw)-1]
	if bytes.IndexByte(id, '\\') >= 0 {
		if err := checkEscapes(raw); err != nil {
			return "", &Error{Reason: UnstorableString, Key: key, Detail: err.Error()}
		}
		if id, err = jx.DecodeBytes(raw).StrBytes(); err != nil {
			return "", err
		}
	}
	if len(id) == 0 || len(id) > maxDeviceIDBytes {
		return "", &Error{Reason: OutOfRange, Key: key, Detail: fmt.Sprintf("%d bytes, not 1 to %d", len(id), maxDeviceIDBytes)}
	}
	for i, r := range string(id) {
		if !unicode.IsPrint(r) {
			return "", &Error{Reason: OutOfRange, Key: key, Detail: fmt.Sprintf("%U at byte %d is not printable", r, i)}
		}
	}
	return string(id), nil
}

func (d *Decoder) timestamp() (time.Time, error) {
	const key = "timestamp"
	if err := d.expect(key, jx.String); err != nil {
		return time.Time{}, err
	}
	text, err := d.json.StrBytes()
	if err != nil {
		return time.Time{}, err
	}
	var ts time.Time
	if err := ts.UnmarshalText(text); err != nil { // strict RFC 3339, without an allocation
		return time.Time{}, &Error{Reason: OutOfRange, Key: key, Detail: fmt.Sprintf("%.40q is not RFC 3339 with an offset", text)}
	}
	return ts.UTC().Truncate(time.Microsecond), nil
}

func (d *Decoder) number(key string) ([]byte, error) {
	if err := d.expect(key, jx.Number); err != nil {
		return nil, err
	}
	return d.json.Raw()
}

func (d *Decoder) float(key string, least, most float64) (float64, error) {
	raw, err := d.number(key)
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseFloat(string(raw), 64)
	// The value stays out of the message: coordinates are not logged.
	if err != nil || v < least || v > most {
		return 0, &Error{Reason: OutOfRange, Key: key, Detail: fmt.Sprintf("not within %.10g and %.10g", least, most)}
	}
	return v, nil
}

func (d *Decoder) real(key string, least, most float64) (float32, error) {
	v, err := d.float(key, least, most)
	return float32(v), err
}

func (d *Decoder) uint8(key string) (uint8, error) {
	raw, err := d.number(key)
	if err != nil {
		return 0, err
	}
	if bytes.ContainsAny(raw, ".eE") {
		return 0, &Error{Reason: WrongType, Key: key, Detail: fmt.Sprintf("%.40s is not an integer", raw)}
	}
	v, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || v < 0 || v > math.MaxUint8 {
		return 0, &Error{Reason: OutOfRange, Key: key, Detail: fmt.Sprintf("%.40s is not within 0 and 255", raw)}
	}
	return uint8(v), nil
}
