// Package column is the one list of the columns that the service writes. It drives the COPY encoder and the
// arrays of package store, and the check of package schema.
package column

import (
	"time"

	"processor/internal/position"
)

// Arrays are rows as the statements with unnest take them: one array for each column. Package store converts it to the
// generated types, which the compiler allows only where names, order and types are theirs.
type Arrays struct {
	DeviceID   []string
	Ts         []time.Time
	Latitude   []float64
	Longitude  []float64
	Altitude   []float32
	Angle      []float32
	Speed      []float32
	Satellites []int16
	Priority   []int16
	Attributes [][]byte
}

// Column is one column of positions.
type Column struct {
	Name string
	// Type is what the worker sends, as PostgreSQL's format_type spells it.
	Type string
	// Holds are further types that take each value of Type as it is. Only the upsert writes those.
	Holds []string
	// Encode appends a row's value in the binary format of COPY.
	Encode func(b []byte, p *position.Position) []byte
	// Collect appends a row's value to the column's array.
	Collect func(a *Arrays, p *position.Position)
	// Reset empties the column's array and keeps its memory.
	Reset func(a *Arrays)
}

// All lists the columns in the order of sql/copy.sql.
func All() []Column {
	return []Column{
		textColumn("device_id", func(p *position.Position) string { return p.DeviceID }, func(a *Arrays) *[]string { return &a.DeviceID }),
		timeColumn("ts", func(p *position.Position) time.Time { return p.Timestamp }, func(a *Arrays) *[]time.Time { return &a.Ts }),
		doubleColumn("latitude", func(p *position.Position) float64 { return p.Latitude }, func(a *Arrays) *[]float64 { return &a.Latitude }),
		doubleColumn("longitude", func(p *position.Position) float64 { return p.Longitude }, func(a *Arrays) *[]float64 { return &a.Longitude }),
		realColumn("altitude", func(p *position.Position) float32 { return p.Altitude }, func(a *Arrays) *[]float32 { return &a.Altitude }),
		realColumn("angle", func(p *position.Position) float32 { return p.Angle }, func(a *Arrays) *[]float32 { return &a.Angle }),
		realColumn("speed", func(p *position.Position) float32 { return p.Speed }, func(a *Arrays) *[]float32 { return &a.Speed }),
		smallColumn("satellites", func(p *position.Position) uint8 { return p.Satellites }, func(a *Arrays) *[]int16 { return &a.Satellites }),
		smallColumn("priority", func(p *position.Position) uint8 { return p.Priority }, func(a *Arrays) *[]int16 { return &a.Priority }),
		jsonColumn("attributes", func(p *position.Position) []byte { return p.Attributes }, func(a *Arrays) *[][]byte { return &a.Attributes }),
	}
}

// newColumn takes the column's value from a row, its encoding for COPY and its array.
func newColumn[R, V any](name, sqlType string, holds []string, value func(*position.Position) R,
	encode func([]byte, R) []byte, array func(*Arrays) *[]V, convert func(R) V,
) Column {
	return Column{
		Name:   name,
		Type:   sqlType,
		Holds:  holds,
		Encode: func(b []byte, p *position.Position) []byte { return encode(b, value(p)) },
		Collect: func(a *Arrays, p *position.Position) {
			values := array(a)
			*values = append(*values, convert(value(p)))
		},
		Reset: func(a *Arrays) {
			values := array(a)
			clear(*values) // else the array would keep the last batch's memory
			*values = (*values)[:0]
		},
	}
}

func same[V any](v V) V { return v }

func textColumn(name string, value func(*position.Position) string, array func(*Arrays) *[]string) Column {
	return newColumn(name, "text", []string{"character varying"}, value, appendText, array, same)
}

func timeColumn(name string, value func(*position.Position) time.Time, array func(*Arrays) *[]time.Time) Column {
	return newColumn(name, "timestamp with time zone", nil, value, appendTime, array, same)
}

func doubleColumn(name string, value func(*position.Position) float64, array func(*Arrays) *[]float64) Column {
	return newColumn(name, "double precision", nil, value, appendDouble, array, same)
}

func realColumn(name string, value func(*position.Position) float32, array func(*Arrays) *[]float32) Column {
	return newColumn(name, "real", []string{"double precision"}, value, appendReal, array, same)
}

func smallColumn(name string, value func(*position.Position) uint8, array func(*Arrays) *[]int16) Column {
	widen := func(v uint8) int16 { return int16(v) }
	encode := func(b []byte, v uint8) []byte { return appendSmall(b, widen(v)) }
	return newColumn(name, "smallint", []string{"integer", "bigint"}, value, encode, array, widen)
}

func jsonColumn(name string, value func(*position.Position) []byte, array func(*Arrays) *[][]byte) Column {
	return newColumn(name, "jsonb", nil, value, appendJSON, array, same)
}
