package column

import (
	"math"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/require"
)

// pgx's own encoding is the oracle.
func TestRegisterArrays_EncodesAsPgxDoes(t *testing.T) {
	plain, registered := pgtype.NewMap(), pgtype.NewMap()
	RegisterArrays(registered)
	for _, c := range []struct {
		name   string
		oid    uint32
		values []any
	}{
		{"text", pgtype.TextArrayOID, []any{[]string{}, []string{""}, []string{"350000000000001", "naïve", "\\x00,{}\"NULL"}}},
		{"timestamptz", pgtype.TimestamptzArrayOID, []any{[]time.Time{}, []time.Time{
			time.UnixMilli(1_750_000_000_123), time.UnixMicro(-1), time.Unix(0, 999).UTC(),
			time.Date(1969, 12, 31, 23, 59, 59, 999_999_999, time.FixedZone("", 3600)), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
		}}},
		{"double precision", pgtype.Float8ArrayOID, []any{[]float64{}, []float64{0, math.Copysign(0, -1), -214.7483648, math.NaN(), math.Inf(-1), math.MaxFloat64}}},
		{"real", pgtype.Float4ArrayOID, []any{[]float32{}, []float32{0, -1.5, float32(math.Inf(1)), math.MaxFloat32}}},
		{"smallint", pgtype.Int2ArrayOID, []any{[]int16{}, []int16{0, 255, -1, math.MinInt16, math.MaxInt16}}},
		{"jsonb", pgtype.JSONBArrayOID, []any{[][]byte{}, [][]byte{[]byte(`{}`), []byte(`{"a":"\u20ac","b":12345678901234567890}`)}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, value := range c.values {
				want, err := plain.Encode(c.oid, pgtype.BinaryFormatCode, value, []byte("before"))
				require.NoError(t, err)
				got, err := registered.Encode(c.oid, pgtype.BinaryFormatCode, value, []byte("before"))
				require.NoError(t, err)
				require.Equal(t, want, got, "%v", value)
			}
		})
	}
}

// A missing value is NULL, which the table's constraint refuses: it is no malformed JSON.
func TestRegisterArrays_TakesNilForNull(t *testing.T) {
	m := pgtype.NewMap()
	RegisterArrays(m)
	got, err := m.Encode(pgtype.JSONBArrayOID, pgtype.BinaryFormatCode, [][]byte{nil}, nil)
	require.NoError(t, err)
	var read []*string
	require.NoError(t, m.Scan(pgtype.JSONBArrayOID, pgtype.BinaryFormatCode, got, &read))
	require.Equal(t, []*string{nil}, read)
}

// What is no slice of the column's Go type is encoded as without the registration.
func TestRegisterArrays_LeavesOtherValuesToPgx(t *testing.T) {
	plain, registered := pgtype.NewMap(), pgtype.NewMap()
	RegisterArrays(registered)
	a := "a"
	for _, value := range []any{[]*string{&a, nil}, pgtype.FlatArray[string]{"a"}, []string(nil)} {
		for _, format := range []int16{pgtype.BinaryFormatCode, pgtype.TextFormatCode} {
			want, err := plain.Encode(pgtype.TextArrayOID, format, value, nil)
			require.NoError(t, err)
			got, err := registered.Encode(pgtype.TextArrayOID, format, value, nil)
			require.NoError(t, err)
			require.Equal(t, want, got, "%T", value)
		}
	}
}

func BenchmarkRegisterArrays(b *testing.B) {
	for name, register := range map[string]func(*pgtype.Map){"pgx": func(*pgtype.Map) {}, "registered": RegisterArrays} {
		b.Run(name, func(b *testing.B) {
			m := pgtype.NewMap()
			register(m)
			values := make([]float64, 45)
			var buffer []byte
			for b.Loop() {
				var err error
				if buffer, err = m.Encode(pgtype.Float8ArrayOID, pgtype.BinaryFormatCode, values, buffer[:0]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
