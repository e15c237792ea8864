package column

import (
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// The encodings are those of PostgreSQL's binary formats: length, then the value, most significant byte first. A
// field of COPY and an element of an array are the same bytes.

func appendText(b []byte, v string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
}

// microsecondsTo2000 is where timestamptz counts from.
const microsecondsTo2000 = 946684800_000_000

func appendTime(b []byte, v time.Time) []byte {
	return binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), uint64(v.UnixMicro()-microsecondsTo2000))
}

func appendDouble(b []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), math.Float64bits(v))
}

func appendReal(b []byte, v float32) []byte {
	return binary.BigEndian.AppendUint32(append(b, 0, 0, 0, 4), math.Float32bits(v))
}

func appendSmall(b []byte, v int16) []byte {
	return binary.BigEndian.AppendUint16(append(b, 0, 0, 0, 2), uint16(v))
}

func appendJSON(b []byte, v []byte) []byte {
	if v == nil {
		return append(b, 255, 255, 255, 255) // NULL has the length -1
	}
	b = binary.BigEndian.AppendUint32(b, uint32(1+len(v)))
	return append(append(b, 1), v...) // version of jsonb's binary format
}

// RegisterArrays makes a connection encode the arrays of the statements with unnest by the functions above. pgx by
// itself looks at the type of each element, which takes several times as long. Other values are encoded as before.
func RegisterArrays(m *pgtype.Map) {
	register(m, pgtype.TextArrayOID, pgtype.TextOID, appendText, func(v string) int { return 4 + len(v) })
	register(m, pgtype.TimestamptzArrayOID, pgtype.TimestamptzOID, appendTime, func(time.Time) int { return 4 + 8 })
	register(m, pgtype.Float8ArrayOID, pgtype.Float8OID, appendDouble, func(float64) int { return 4 + 8 })
	register(m, pgtype.Float4ArrayOID, pgtype.Float4OID, appendReal, func(float32) int { return 4 + 4 })
	register(m, pgtype.Int2ArrayOID, pgtype.Int2OID, appendSmall, func(int16) int { return 4 + 2 })
	register(m, pgtype.JSONBArrayOID, pgtype.JSONBOID, appendJSON, func(v []byte) int { return 4 + 1 + len(v) })
}

func register[V any](m *pgtype.Map, array, element uint32, encode func([]byte, V) []byte, size func(V) int) {
	known, _ := m.TypeForOID(array) // a type of pgx's own list
	m.RegisterType(&pgtype.Type{Name: known.Name, OID: array, Codec: arrayCodec[V]{known.Codec, element, encode, size}})
}

// arrayCodec encodes slices of V, and leaves all else to the codec that it replaces.
type arrayCodec[V any] struct {
	pgtype.Codec
	element uint32
	encode  func([]byte, V) []byte
	size    func(V) int // at most, in bytes
}

// PlanEncode implements pgtype.Codec.
func (c arrayCodec[V]) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if _, ok := value.([]V); ok && format == pgtype.BinaryFormatCode {
		return c
	}
	return c.Codec.PlanEncode(m, oid, format, value)
}

// Encode implements pgtype.EncodePlan with PostgreSQL's binary format of an array: one dimension,
// counted from 1. The flag that says there are nulls is not needed: PostgreSQL looks at the lengths.
func (c arrayCodec[V]) Encode(value any, b []byte) ([]byte, error) {
	values := value.([]V)
	size := 5 * 4
	for _, v := range values {
		size += c.size(v)
	}
	b = slices.Grow(b, size)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint32(b, c.element)
	b = binary.BigEndian.AppendUint32(b, uint32(len(values)))
	b = binary.BigEndian.AppendUint32(b, 1)
	for _, v := range values {
		b = c.encode(b, v)
	}
	return b, nil
}
