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
	// form is what is known of the attributes before they are read.
	form bagForm
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

// key is one top-level key of a payload: its name, the form of its value, and the rule that reads the value's text
// into Decoder.position. A new key is one line of keys.
type key struct {
	name string
	form valueForm
	read func(d *Decoder, text []byte) error
}

// valueForm is the JSON type that a key must have.
type valueForm uint8

const (
	stringValue valueForm = iota
	numberValue
	bagValue
)

func (f valueForm) jsonType() jx.Type {
	return [...]jx.Type{stringValue: jx.String, numberValue: jx.Number, bagValue: jx.Object}[f]
}

// requiredKeys is how many of keys, from the first on, every payload has.
const requiredKeys = 9

type (
	keyTable   = [requiredKeys + 1]key
	valueTexts = [len(keyTable{})][]byte
)

// keys lists the top-level keys in the order in which tcp-ingestion writes them.
func keys() keyTable {
	return keyTable{
		{"device_id", stringValue, func(d *Decoder, text []byte) (err error) {
			d.position.DeviceID, err = d.deviceID(text)
			return err
		}},
		{"timestamp", stringValue, func(d *Decoder, text []byte) (err error) {
			d.position.Timestamp, err = d.timestamp(text)
			return err
		}},
		{"latitude", numberValue, func(d *Decoder, text []byte) (err error) {
			d.position.Latitude, err = d.float(text, -maxDegrees, maxDegrees)
			return err
		}},
		{"longitude", numberValue, func(d *Decoder, text []byte) (err error) {
			d.position.Longitude, err = d.float(text, -maxDegrees, maxDegrees)
			return err
		}},
		{"altitude", numberValue, func(d *Decoder, text []byte) (err error) {
			d.position.Altitude, err = d.real(text, -math.MaxFloat32, math.MaxFloat32)
			return err
		}},
		{"angle", numberValue, func(d *Decoder, text []byte) (err error) {
			d.position.Angle, err = d.real(text, 0, maxAngle)
			return err
		}},
		{"speed", numberValue, func(d *Decoder, text []byte) (err error) {
			d.position.Speed, err = d.real(text, 0, math.MaxFloat32)
			return err
		}},
		{"satellites", numberValue, func(d *Decoder, text []byte) (err error) {
			d.position.Satellites, err = d.uint8(text)
			return err
		}},
		{"priority", numberValue, func(d *Decoder, text []byte) (err error) {
			d.position.Priority, err = d.uint8(text)
			return err
		}},
		{"attributes", bagValue, func(d *Decoder, text []byte) (err error) {
			d.position.Attributes, err = d.attributes(text)
			return err
		}},
	}
}

// Decode reads one payload: what JavaScript's JSON.stringify made of a record. A nil payload is one that
// the entry does not have. Unknown top-level keys are ignored. The position's Attributes lie in the payload
// or in the decoder's memory: they are valid until the payload changes or Reset is called. Every error is
// an *Error.
func (d *Decoder) Decode(payload []byte) (Position, error) {
	table := keys()
	var values valueTexts
	form, ok := split(payload, &table, &values)
	if !ok {
		return d.general(payload, &table)
	}
	d.position, d.form = Position{}, form
	for i := range table {
		if values[i] == nil {
			continue
		}
		d.key = table[i].name
		if err := table[i].read(d, values[i]); err != nil {
			return Position{}, asError(err)
		}
	}
	return d.complete(), nil
}

// general is Decode for payloads of any form.
func (d *Decoder) general(payload []byte, table *keyTable) (Position, error) {
	if err := d.begin(payload); err != nil {
		return Position{}, err
	}
	members, err := d.json.ObjIter()
	if err != nil {
		return Position{}, notJSON(err)
	}
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
			err = d.member(&table[i])
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
	return d.complete(), nil
}

// complete returns the position, of which every required key was read.
func (d *Decoder) complete() Position {
	if d.position.Attributes == nil {
		d.position.Attributes = []byte("{}")
	}
	return d.position
}

// member reads the value of a key, which is next.
func (d *Decoder) member(k *key) error {
	d.key = k.name
	if err := d.expect(k.form.jsonType()); err != nil {
		return err
	}
	text, err := d.json.Raw()
	if err != nil {
		return err
	}
	return k.read(d, text)
}

// begin prepares the decoder for a payload that is an object in valid UTF-8.
func (d *Decoder) begin(payload []byte) error {
	if payload == nil {
		return &Error{Reason: NotJSON, Detail: "the entry has no field payload"}
	}
	if !utf8.Valid(payload) {
		return &Error{Reason: NotJSON, Detail: "not valid UTF-8"}
	}
	d.position, d.form = Position{}, anyBag
	d.json.ResetBytes(payload)
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

// The rules of the values: each reads the text of a valid JSON value of its key's form.

func (d *Decoder) deviceID(text []byte) (string, error) {
	if err := checkEscapes(text); err != nil {
		return "", d.fault(UnstorableString, "%s", err)
	}
	id, err := d.unquote(text)
	if err != nil {
		return "", err
	}
	if len(id) == 0 || len(id) > maxDeviceIDBytes {
		return "", d.fault(OutOfRange, "%d bytes, not 1 to %d", len(id), maxDeviceIDBytes)
	}
	for i, r := range string(id) {
		if (r < ' ' || r > '~') && !unicode.IsPrint(r) {
			return "", d.fault(OutOfRange, "%U at byte %d is not printable", r, i)
		}
	}
	return string(id), nil
}

func (d *Decoder) timestamp(text []byte) (time.Time, error) {
	inner, err := d.unquote(text)
	if err != nil {
		return time.Time{}, err
	}
	ts, ok := parseRFC3339(inner)
	if !ok {
		return time.Time{}, d.fault(OutOfRange, "%.40q is not RFC 3339 with an offset", inner)
	}
	return ts, nil
}

// unquote returns the content of a JSON string.
func (d *Decoder) unquote(text []byte) ([]byte, error) {
	if bytes.IndexByte(text, '\\') < 0 {
		return text[1 : len(text)-1], nil
	}
	d.bag.ResetBytes(text)
	return d.bag.StrBytes()
}

func (d *Decoder) float(text []byte, least, most float64) (float64, error) {
	v, err := parseFloat(text)
	// The value stays out of the message: coordinates are not logged.
	if err != nil || v < least || v > most {
		return 0, d.fault(OutOfRange, "not within %.10g and %.10g", least, most)
	}
	return v, nil
}

func (d *Decoder) real(text []byte, least, most float64) (float32, error) {
	v, err := d.float(text, least, most)
	return float32(v), err
}

func (d *Decoder) uint8(text []byte) (uint8, error) {
	v, err := strconv.Atoi(string(text))
	if err != nil && bytes.ContainsAny(text, ".eE") {
		return 0, d.fault(WrongType, "%.40s is not an integer", text)
	}
	if err != nil || v < 0 || v > math.MaxUint8 {
		return 0, d.fault(OutOfRange, "%.40s is not within 0 and 255", text)
	}
	return uint8(v), nil
}
