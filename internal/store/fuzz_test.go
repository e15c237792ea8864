package store

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/position"
	"processor/internal/servertest"
)

// FuzzWriter: whatever Decode accepts, PostgreSQL stores, by COPY and by upsert.
func FuzzWriter(f *testing.F) {
	for _, r := range corpus(f) {
		f.Add([]byte(r.Entry.Payload))
	}
	for _, attributes := range []string{
		`{"a":1.7976931348623157e+308,"b":5e-324,"c":-0,"d":0.1E5,"e":0e320}`,
		`{"a":` + strings.Repeat("9", 131072) + `}`,
		`{"a":"\ud83d\ude9a\u0001\\u0000\/","\u00e9\"":[[],{},null]}`,
		`{"":{"":{"__bigint":"-1"}},"__bigint":1}`,
		`{"a":{"__buffer_b64":""},"a":{"__buffer_b64":"AAH/"}}`,
		strings.Repeat(`{"a":`, position.MaxDepth) + `0` + strings.Repeat("}", position.MaxDepth),
	} {
		f.Add([]byte(`{"device_id":"d","timestamp":"0001-01-01T00:00:00Z","latitude":-0,"longitude":180,"altitude":-1e38,` +
			`"angle":1e-320,"speed":3e38,"satellites":255,"priority":0,"attributes":` + attributes + `}`))
		f.Add([]byte(`{"device_id":"d","timestamp":"9999-12-31T23:59:59.999999999+23:59","latitude":1e-400,"longitude":180,"altitude":0,` +
			`"angle":0,"speed":0,"satellites":0,"priority":0,"attributes":` + attributes + `}`))
	}
	url := servertest.Migrated(f)
	w := open(f, url, Options{}).NewWriter()
	f.Fuzz(func(t *testing.T, payload []byte) {
		var d position.Decoder
		p, err := d.Decode(payload)
		if err != nil {
			return
		}
		for _, redelivered := range []bool{false, true} {
			r, err := w.Write(t.Context(), Batch{Positions: []position.Position{p}, Redelivered: redelivered})
			require.NoError(t, err)
			require.Empty(t, r.Rejected)
		}
	})
}
