package store

import (
	"encoding/binary"
	"math"
	"time"

	"processor/db"
	"processor/internal/position"
)

// arrays are rows as the statements with unnest take them: one array for each column.
type arrays = db.UpsertPositionsParams

// column is one column that the service writes: how a row's value goes into a COPY and into the arrays.
type column struct {
	name, sqlType string // as format_type spells the type
	encode        func(b []byte, p *position.Position) []byte
	collect       func(a *arrays, p *position.Position)
	reset         func(a *arrays)
}

// columns is the one list of the columns that the service writes, in the order of sql/copy.sql.
func columns() []column {
	return []column{
		textColumn("device_id", func(p *position.Position) string { return p.DeviceID }, func(a *arrays) *[]string { return &a.DeviceID }),
		timeColumn("ts", func(p *position.Position) time.Time { return p.Timestamp }, func(a *arrays) *[]time.Time { return &a.Ts }),
		doubleColumn("latitude", func(p *position.Position) float64 { return p.Latitude }, func(a *arrays) *[]float64 { return &a.Latitude }),
		doubleColumn("longitude", func(p *position.Position) float64 { return p.Longitude }, func(a *arrays) *[]float64 { return &a.Longitude }),
		realColumn("altitude", func(p *position.Position) float32 { return p.Altitude }, func(a *arrays) *[]float32 { return &a.Altitude }),
		realColumn("angle", func(p *position.Position) float32 { return p.Angle }, func(a *arrays) *[]float32 { return &a.Angle }),
		realColumn("speed", func(p *position.Position) float32 { return p.Speed }, func(a *arrays) *[]float32 { return &a.Speed }),
		smallColumn("satellites", func(p *position.Position) uint8 { return p.Satellites }, func(a *arrays) *[]int16 { return &a.Satellites }),
		smallColumn("priority", func(p *position.Position) uint8 { return p.Priority }, func(a *arrays) *[]int16 { return &a.Priority }),
		jsonColumn("attributes", func(p *position.Position) []byte { return p.Attributes }, func(a *arrays) *[][]byte { return &a.Attributes }),
	}
}

// WrittenColumns are the columns that the service writes, with the types that it sends.
func WrittenColumns() []Column {
	var written []Column
	for _, c := range columns() {
		written = append(written, Column{Name: c.name, Type: c.sqlType})
	}
	return written
}

// newColumn takes the column's value from a row, its encoding for COPY and its array.
func newColumn[R, V any](name, sqlType string, value func(*position.Position) R,
	encode func([]byte, R) []byte, array func(*arrays) *[]V, convert func(R) V,
) column {
	return column{
		name:    name,
		sqlType: sqlType,
		encode:  func(b []byte, p *position.Position) []byte { return encode(b, value(p)) },
		collect: func(a *arrays, p *position.Position) {
			values := array(a)
			*values = append(*values, convert(value(p)))
		},
		reset: func(a *arrays) {
			values := array(a)
			clear(*values) // else the array would keep the last batch's memory
			*values = (*values)[:0]
		},
	}
}

func same[V any](v V) V { return v }

// The encodings are those of PostgreSQL's binary formats: length, then the value, most significant byte first.

func textColumn(name string, value func(*position.Position) string, array func(*arrays) *[]string) column {
	return newColumn(name, "text", value, func(b []byte, v string) []byte {
		return append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
	}, array, same)
}

// microsecondsTo2000 is where timestamptz counts from.
const microsecondsTo2000 = 946684800_000_000

func timeColumn(name string, value func(*position.Position) time.Time, array func(*arrays) *[]time.Time) column {
	return newColumn(name, "timestamp with time zone", value, func(b []byte, v time.Time) []byte {
		return binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), uint64(v.UnixMicro()-microsecondsTo2000))
	}, array, same)
}

func doubleColumn(name string, value func(*position.Position) float64, array func(*arrays) *[]float64) column {
	return newColumn(name, "double precision", value, func(b []byte, v float64) []byte {
		return binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), math.Float64bits(v))
	}, array, same)
}

func realColumn(name string, value func(*position.Position) float32, array func(*arrays) *[]float32) column {
	return newColumn(name, "real", value, func(b []byte, v float32) []byte {
		return binary.BigEndian.AppendUint32(append(b, 0, 0, 0, 4), math.Float32bits(v))
	}, array, same)
}

func smallColumn(name string, value func(*position.Position) uint8, array func(*arrays) *[]int16) column {
	return newColumn(name, "smallint", value, func(b []byte, v uint8) []byte {
		return append(b, 0, 0, 0, 2, 0, v)
	}, array, func(v uint8) int16 { return int16(v) })
}

func jsonColumn(name string, value func(*position.Position) []byte, array func(*arrays) *[][]byte) column {
	return newColumn(name, "jsonb", value, func(b []byte, v []byte) []byte {
		b = binary.BigEndian.AppendUint32(b, uint32(1+len(v)))
		return append(append(b, 1), v...) // version of jsonb's binary format
	}, array, same)
}
