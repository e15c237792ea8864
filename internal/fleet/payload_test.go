package fleet_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"math/big"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/fleet"
)

// payload holds the keys of a position that the worker reads.
type payload struct {
	DeviceID   string                     `json:"device_id"`
	Timestamp  string                     `json:"timestamp"`
	Latitude   float64                    `json:"latitude"`
	Longitude  float64                    `json:"longitude"`
	Altitude   float64                    `json:"altitude"`
	Angle      float64                    `json:"angle"`
	Speed      float64                    `json:"speed"`
	Satellites int                        `json:"satellites"`
	Priority   int                        `json:"priority"`
	Attributes map[string]json.RawMessage `json:"attributes"`
}

func decode(t *testing.T, data []byte) payload {
	t.Helper()
	var p payload
	require.NoError(t, json.Unmarshal(data, &p), string(data))
	return p
}

// entry is a line of testdata/teltonika.ndjson: the fields of a real entry.
type entry struct {
	TS       string `json:"ts"`
	DeviceID string `json:"device_id"`
	Codec    string `json:"codec"`
	Payload  string `json:"payload"`
}

func realEntries(t *testing.T) []entry {
	t.Helper()
	file, err := os.Open("testdata/teltonika.ndjson")
	require.NoError(t, err)
	defer file.Close()
	var entries []entry
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var e entry
		require.NoError(t, json.Unmarshal(lines.Bytes(), &e))
		entries = append(entries, e)
	}
	require.NotEmpty(t, entries)
	return entries
}

// member is a key of an object and the kind of its value. A slice of members is
// in the order of the text.
type member struct{ key, kind string }

// shape returns the members of a payload and of its attributes. It fails the
// test if the text differs from the output of JSON.stringify.
func shape(t *testing.T, text []byte) (position, attributes []member) {
	t.Helper()
	var compact bytes.Buffer
	require.NoError(t, json.Compact(&compact, text))
	require.Equal(t, compact.String(), string(text), "JSON.stringify writes no space")

	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	position = members(t, d, &attributes)
	require.False(t, d.More(), "text after the object")

	last := -1
	for _, m := range attributes {
		id, err := strconv.Atoi(m.key)
		if err != nil {
			last = 1<<31 - 1 // JavaScript puts other keys behind the integers
			continue
		}
		require.Greater(t, id, last, "JavaScript writes integer keys in ascending order: %s", text)
		last = id
	}
	return position, attributes
}

func members(t *testing.T, d *json.Decoder, nested *[]member) []member {
	t.Helper()
	token, err := d.Token()
	require.NoError(t, err)
	require.Equal(t, json.Delim('{'), token)
	var found []member
	for d.More() {
		key, err := d.Token()
		require.NoError(t, err)
		if nested != nil && key == "attributes" {
			*nested = members(t, d, nil)
			found = append(found, member{"attributes", "object"})
			continue
		}
		var value any
		require.NoError(t, d.Decode(&value))
		found = append(found, member{key.(string), kind(t, value)})
	}
	_, err = d.Token()
	require.NoError(t, err)
	return found
}

func kind(t *testing.T, value any) string {
	t.Helper()
	switch value := value.(type) {
	case nil:
		return "null"
	case string:
		return "string"
	case json.Number:
		f, err := value.Float64()
		require.NoError(t, err)
		require.Equal(t, strconv.FormatFloat(f, 'f', -1, 64), value.String(), "JavaScript writes the shortest form")
		return "number"
	case map[string]any:
		require.Len(t, value, 1)
		for key := range value {
			require.IsType(t, "", value[key])
			return key
		}
	}
	require.Failf(t, "no value of a tracker", "%v", value)
	return ""
}

func TestRecord_ShapeIsThatOfRealRecords(t *testing.T) {
	var want []member
	kinds := map[member]bool{{"78", "__bigint"}: true} // the excerpt has no bigint
	for _, e := range realEntries(t) {
		position, attributes := shape(t, []byte(e.Payload))
		want = position
		for _, m := range attributes {
			kinds[m] = true
		}
		require.Equal(t, e.TS, decode(t, []byte(e.Payload)).Timestamp)
	}

	f := fleet.New(fleet.Options{Devices: 20, Start: start, Step: time.Second})
	for _, rec := range take(f, 2_000, unused) {
		position, attributes := shape(t, rec.Payload)
		require.Equal(t, want, position)
		for _, m := range attributes {
			require.Truef(t, kinds[m], "no real record has %v: %s", m, rec.Payload)
		}
		require.Equal(t, member{"event", "number"}, attributes[len(attributes)-1])

		p := decode(t, rec.Payload)
		require.Equal(t, rec.DeviceID, p.DeviceID)
		require.Equal(t, rec.Timestamp.Format("2006-01-02T15:04:05.000Z"), p.Timestamp)
		require.Equal(t, time.UTC, rec.Timestamp.Location())
		require.Equal(t, "8E", rec.Codec)
	}
}

func TestRecord_Sentinels(t *testing.T) {
	tests := map[string]struct {
		bigints, buffers         float64
		wantBigints, wantBuffers float64
	}{
		"default":    {0, 0, 0.02, 0.02},
		"none":       {-1, -1, 0, 0},
		"as told":    {0.5, 0.1, 0.5, 0.1},
		"every time": {1, 1, 1, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			const records = 2_000
			f := fleet.New(fleet.Options{
				Devices: 20, Start: start, Step: time.Second,
				BigintShare: test.bigints, BufferShare: test.buffers,
			})
			bigints, buffers := 0, 0
			for _, rec := range take(f, records, unused) {
				p := decode(t, rec.Payload)
				for id, raw := range p.Attributes {
					if raw[0] != '{' {
						continue
					}
					var s struct {
						Bigint *string `json:"__bigint"`
						Buffer *string `json:"__buffer_b64"`
					}
					require.NoError(t, json.Unmarshal(raw, &s))
					switch {
					case s.Bigint != nil:
						bigints++
						n, ok := new(big.Int).SetString(*s.Bigint, 10)
						require.True(t, ok)
						require.Equal(t, n.String(), *s.Bigint)
						require.True(t, n.IsUint64() && n.Uint64() > 1<<53-1, "%s is a number to JavaScript", n)
					case s.Buffer != nil:
						buffers++
						raw, err := base64.StdEncoding.DecodeString(*s.Buffer)
						require.NoError(t, err)
						require.GreaterOrEqual(t, len(raw), 20)
						require.LessOrEqual(t, len(raw), 128)
						if id != "387" { // beacons come in a separate record
							require.Equal(t, id, string(p.Attributes["event"]))
							require.NotContains(t, p.Attributes, "239")
						}
					}
				}
			}
			require.InDelta(t, test.wantBigints, float64(bigints)/records, fourSigma(test.wantBigints, records))
			require.InDelta(t, test.wantBuffers, float64(buffers)/records, fourSigma(test.wantBuffers, records))
		})
	}
}

// fourSigma is four standard deviations of a share of n drawn with probability p.
func fourSigma(p, n float64) float64 { return 4 * math.Sqrt(p*(1-p)/n) }

func TestRecord_TypicalSize(t *testing.T) {
	f := fleet.New(fleet.Options{Devices: 100, Start: start, Step: time.Second})
	bytes, records := 0, 0
	for _, rec := range take(f, 10_000, unused) {
		if !strings.Contains(string(rec.Payload), "__") {
			bytes += len(rec.Payload)
			records++
		}
	}
	require.InDelta(t, 500, bytes/records, 60)
}
