package position

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
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
	// key is the top-level key that is read, position what has been read so far.
	key      string
	position Position
	// escaped: the payload holds a backslash somewhere, which is rare.
	escaped bool
	// bag reads attributes that are rewritten, out takes them.
	bag jx.Decoder
	out jx.Writer
	// added counts the characters that PostgreSQL adds where it writes the bag's numbers out.
	added int
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
	d.position = Position{}
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

// key is one top-level key of a payload: its name and the rule that decodes its value into
// Decoder.position. A new key is one line of keys.
type key struct {
	name string
	read func(d *Decoder) error
}

// requiredKeys is how many of keys, from the first on, every payload has.
const requiredKeys = 9

// keys lists the top-level keys in the order in which tcp-ingestion writes them.
func keys() [requiredKeys + 1]key {
	return [...]key{
		{"device_id", func(d *Decoder) (err error) { d.position.DeviceID, err = d.deviceID(); return err }},
		{"timestamp", func(d *Decoder) (err error) { d.position.Timestamp, err = d.timestamp(); return err }},
		{"latitude", func(d *Decoder) (err error) { d.position.Latitude, err = d.float(-maxDegrees, maxDegrees); return err }},
		{"longitude", func(d *Decoder) (err error) { d.position.Longitude, err = d.float(-maxDegrees, maxDegrees); return err }},
		{"altitude", func(d *Decoder) (err error) {
			d.position.Altitude, err = d.real(-math.MaxFloat32, math.MaxFloat32)
			return err
		}},
		{"angle", func(d *Decoder) (err error) { d.position.Angle, err = d.real(0, maxAngle); return err }},
		{"speed", func(d *Decoder) (err error) { d.position.Speed, err = d.real(0, math.MaxFloat32); return err }},
		{"satellites", func(d *Decoder) (err error) { d.position.Satellites, err = d.uint8(); return err }},
		{"priority", func(d *Decoder) (err error) { d.position.Priority, err = d.uint8(); return err }},
		{"attributes", func(d *Decoder) (err error) { d.position.Attributes, err = d.attributes(); return err }},
	}
}

// Decode reads one payload: what JavaScript's JSON.stringify made of a record. A nil payload is one that
// the entry does not have. Unknown top-level keys are ignored. The position's Attributes lie in the payload
// or in the decoder's memory: they are valid until the payload changes or Reset is called. Every error is
// an *Error.
func (d *Decoder) Decode(payload []byte) (Position, error) {
	if err := d.begin(payload); err != nil {
		return Position{}, err
	}
	members, err := d.json.ObjIter()
	if err != nil {
		return Position{}, notJSON(err)
	}
	table := keys()
	seen, next := 0, 0 // next is the key that JSON.stringify writes after the last one
	for members.Next() {
		name := members.Key()
		i := next
		if i == len(table) || string(name) != table[i].name {
			i = slices.IndexFunc(table[:], func(k key) bool { return k.name == string(name) })
		}
		if i < 0 {
			err = d.json.Skip()
		} else {
			seen |= 1 << i
			next = i + 1
			d.key = table[i].name
			err = table[i].read(d)
		}
		if err != nil {
			return Position{}, asError(err)
		}
	}
	if err := members.Err(); err != nil {
		return Position{}, notJSON(err)
	}
	if err := d.json.Skip(); !errors.Is(err, io.EOF) {
		return Position{}, &Error{Reason: NotJSON, Detail: "something follows the object"}
	}
	for i := range requiredKeys {
		if seen&(1<<i) == 0 {
			return Position{}, &Error{Reason: MissingKey, Key: table[i].name}
		}
	}
	if d.position.Attributes == nil {
		d.position.Attributes = []byte("{}")
	}
	return d.position, nil
}

// begin prepares the decoder for a payload that is an object in valid UTF-8.
func (d *Decoder) begin(payload []byte) error {
	if payload == nil {
		return &Error{Reason: NotJSON, Detail: "the entry has no field payload"}
	}
	if !utf8.Valid(payload) {
		return &Error{Reason: NotJSON, Detail: "not valid UTF-8"}
	}
	d.position = Position{}
	d.json.ResetBytes(payload)
	d.escaped = bytes.IndexByte(payload, '\\') >= 0
	if kind := d.json.Next(); kind != jx.Object {
		return &Error{Reason: NotJSON, Detail: d.otherThanObject(kind, payload)}
	}
	return nil
}

// otherThanObject says what a payload is that is no object.
func (d *Decoder) otherThanObject(kind jx.Type, payload []byte) string {
	if len(bytes.TrimLeft(payload, " \t\r\n")) == 0 {
		return "empty, not an object"
	}
	if err := d.json.Skip(); err != nil {
		return err.Error()
	}
	if err := d.json.Skip(); !errors.Is(err, io.EOF) {
		return "not an object; something follows the " + kind.String()
	}
	return "a JSON " + kind.String() + ", not an object"
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

// expect checks the type of the value under d.key.
func (d *Decoder) expect(want jx.Type) error {
	got := d.json.Next()
	if got == want {
		return nil
	}
	if got == jx.Invalid {
		return d.json.Skip() // the library says what is wrong and where
	}
	return d.fault(WrongType, "%s instead of %s", got, want)
}

// fault is an error of the value under d.key.
func (d *Decoder) fault(reason Reason, format string, args ...any) *Error {
	return &Error{Reason: reason, Key: d.key, Detail: fmt.Sprintf(format, args...)}
}

func (d *Decoder) deviceID() (string, error) {
	if err := d.expect(jx.String); err != nil {
		return "", err
	}
	raw, err := d.json.Raw()
	if err != nil {
		return "", err
	}
	id := raw[1 : len(raw)-1]
	if bytes.IndexByte(id, '\\') >= 0 {
		if err := checkEscapes(raw); err != nil {
			return "", d.fault(UnstorableString, "%s", err)
		}
		if id, err = jx.DecodeBytes(raw).StrBytes(); err != nil {
			return "", err
		}
	}
	if len(id) == 0 || len(id) > maxDeviceIDBytes {
		return "", d.fault(OutOfRange, "%d bytes, not 1 to %d", len(id), maxDeviceIDBytes)
	}
	for i, r := range string(id) {
		if !unicode.IsPrint(r) {
			return "", d.fault(OutOfRange, "%U at byte %d is not printable", r, i)
		}
	}
	return string(id), nil
}

func (d *Decoder) timestamp() (time.Time, error) {
	if err := d.expect(jx.String); err != nil {
		return time.Time{}, err
	}
	text, err := d.json.StrBytes()
	if err != nil {
		return time.Time{}, err
	}
	ts, ok := parseRFC3339(text)
	if !ok {
		return time.Time{}, d.fault(OutOfRange, "%.40q is not RFC 3339 with an offset", text)
	}
	return ts, nil
}

func (d *Decoder) number() ([]byte, error) {
	if err := d.expect(jx.Number); err != nil {
		return nil, err
	}
	return d.json.Raw()
}

func (d *Decoder) float(least, most float64) (float64, error) {
	raw, err := d.number()
	if err != nil {
		return 0, err
	}
	v, err := parseFloat(raw)
	// The value stays out of the message: coordinates are not logged.
	if err != nil || v < least || v > most {
		return 0, d.fault(OutOfRange, "not within %.10g and %.10g", least, most)
	}
	return v, nil
}

func (d *Decoder) real(least, most float64) (float32, error) {
	v, err := d.float(least, most)
	return float32(v), err
}

func (d *Decoder) uint8() (uint8, error) {
	raw, err := d.number()
	if err != nil {
		return 0, err
	}
	if bytes.ContainsAny(raw, ".eE") {
		return 0, d.fault(WrongType, "%.40s is not an integer", raw)
	}
	v, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || v < 0 || v > math.MaxUint8 {
		return 0, d.fault(OutOfRange, "%.40s is not within 0 and 255", raw)
	}
	return uint8(v), nil
}
