package position

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/fleet"
)

// decoded is what decoding leads to; floats are bits, since -0 equals 0.
type decoded struct {
	deviceID             string
	timestamp            time.Time
	latitude, longitude  uint64
	altitude             uint32
	angle, speed         uint32
	satellites, priority uint8
	attributes           string
	err                  Error
}

func result(t testing.TB, p Position, err error) decoded {
	r := decoded{
		p.DeviceID, p.Timestamp,
		math.Float64bits(p.Latitude), math.Float64bits(p.Longitude),
		math.Float32bits(p.Altitude), math.Float32bits(p.Angle), math.Float32bits(p.Speed),
		p.Satellites, p.Priority, string(p.Attributes), Error{},
	}
	if err != nil {
		var e *Error
		require.True(t, errors.As(err, &e), "error is %v", err)
		r.err = *e
	} else if len(p.Attributes) != cap(p.Attributes) {
		require.Equal(t, "{}", r.attributes, "an append reaches what follows the attributes")
	}
	return r
}

// isSplit reports whether the fast path takes a payload.
func isSplit(payload []byte) bool {
	table := keys()
	var values valueTexts
	_, ok := split(payload, &table, &values)
	return ok
}

// requireGeneral fails where Decode and the general decoder differ, or change the payload.
func requireGeneral(t testing.TB, payload []byte) {
	t.Helper()
	before := bytes.Clone(payload)
	table := keys()
	var general, d Decoder
	p, err := general.general(payload, &table)
	want := result(t, p, err)
	for range 2 { // the second time the decoder has a past
		p, err := d.Decode(payload)
		if got := result(t, p, err); got != want { // faster than require.Equal, which the fuzzer needs
			require.Equal(t, want, got, "%q", payload)
		}
	}
	require.True(t, bytes.Equal(before, payload), "the payload was changed")
}

func fleetPayloads(n int) (payloads [][]byte) {
	f := fleet.New(fleet.Options{
		Devices: 100, Seed: 1, Start: time.Date(2025, 6, 13, 15, 18, 7, 0, time.UTC), Step: time.Second, BigintShare: 0.2, BufferShare: 0.2,
	})
	for range n {
		payloads = append(payloads, bytes.Clone(f.Next(time.Time{}).Payload))
	}
	return payloads
}

func corpusPayloads(t testing.TB) (payloads [][]byte) {
	for _, r := range corpus(t) {
		payloads = append(payloads, []byte(r.Entry.Payload))
	}
	return payloads
}

func TestSplit_TakesWhatTrackersSend(t *testing.T) {
	for _, payload := range append(corpusPayloads(t), fleetPayloads(1000)...) {
		require.True(t, isSplit(payload), "%s", payload)
		requireGeneral(t, payload)
	}
}

// Both sides of each condition of split. What it leaves to the general decoder may well be right.
func TestSplit_TakesOnlyItsForm(t *testing.T) {
	long := func(n int) string { // a bag of n bytes
		return `{"a":"` + strings.Repeat("x", n-len(`{"a":""}`)) + `"}`
	}
	digits := func(n int) string { return `{"a":` + strings.Repeat("9", n) + `}` }
	for name, c := range map[string]struct{ taken, left []string }{
		"keys": {
			taken: []string{string(payload()), string(payload("attributes", ""))},
			left: []string{
				"", "{", "{}", "null", "[]", `{"device_id"`, `{"device_id":`, string(payload("device_id", "")), string(payload("priority", "")),
				string(payload("attributes", "", "priority", "")),
				strings.Replace(string(payload()), `"angle":119,"speed":61`, `"speed":61,"angle":119`, 1),
				strings.Replace(string(payload()), `"speed":61`, `"speed":61,"speed":62`, 1),
				strings.Replace(string(payload()), `"speed"`, `"Speed"`, 1),
				strings.Replace(string(payload()), `"speed"`, `"sp\u0065ed"`, 1),
				strings.Replace(string(payload()), `"speed":61`, `"course":1,"speed":61`, 1),
				strings.Replace(string(payload()), `{"1":1}`, `{"1":1},"attributes":{"2":2}`, 1),
				strings.Replace(string(payload()), `{"1":1}`, `{"1":1},"x":1`, 1),
				`{"attributes":{"1":1},` + string(payload("attributes", "")[1:]),
				`{"x":1,` + string(payload()[1:]), "," + string(payload()[1:]), string(payload()[1:]),
			},
		},
		"white space and what is around": {
			left: []string{
				" " + string(payload()), string(payload()) + "\n", "\ufeff" + string(payload()), string(payload()) + "}", string(payload()) + "x",
				string(payload()) + string(payload()), string(payload()[:len(payload())-1]), string(payload()[:len(payload())-1]) + "]",
				string(payload()[:len(payload())-1]) + ",}", strings.Replace(string(payload()), ",", ", ", 1),
				strings.Replace(string(payload()), ":", ": ", 1), strings.Replace(string(payload()), ",", "\t,", 1),
				string(attributesOf(`{ "1":1}`)), string(attributesOf(`{"1" :1}`)), string(attributesOf(`{"1": 1}`)),
				string(attributesOf(`{"1":1 }`)), string(attributesOf(`{"1":1, "2":2}`)), string(attributesOf(`{ }`)), string(payload()) + "\x00",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, text := range c.taken {
				require.True(t, isSplit([]byte(text)), "%s", text)
				requireGeneral(t, []byte(text))
			}
			for _, text := range c.left {
				require.False(t, isSplit([]byte(text)), "%s", text)
				requireGeneral(t, []byte(text))
			}
		})
	}
	for key, c := range map[string]struct{ taken, left []string }{
		"device_id": {
			// Rules of the values are not split's: these are its errors, or not, as they are the general decoder's.
			taken: []string{`""`, `" ~"`, `"` + strings.Repeat("x", 64) + `"`, `"` + strings.Repeat("x", 65) + `"`, `"[:,]"`, `"</script>&'"`},
			left: []string{
				`"é"`, `"🚚"`, "\"\xff\"", "\"\x1f\"", "\"\x00\"", "\"\x7f\"", "\"\u0080\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", `"{"`, `"}"`, `"\""`, `"\\"`, `"\/"`, `"\u0041"`, `"\u0000"`,
				`"\ud83d\ude9a"`, `"\ud83d"`, `"`, `"a`, `a"`, `'a'`, `1`, `null`, `{}`, ``, `"a""b"`,
			},
		},
		"timestamp": {
			taken: []string{
				`"2025-06-13T15:18:07.123Z"`, `"0000-01-01T00:00:00.000Z"`, `"0000-02-29T00:00:00.000Z"`, `"0000-12-31T23:59:59.999Z"`,
				`"0001-01-01T00:00:00.000Z"`, `"9999-12-31T23:59:59.999Z"`, `"+010000-01-01T00:00:00.000Z"`, `"-000001-01-01T00:00:00.000Z"`,
				`"2025-02-29T00:00:00.000Z"`, `"2024-02-29T00:00:00.000Z"`, `"2016-12-31T23:59:60.000Z"`, `"2025-06-13T15:18:60.000Z"`,
				`"2025-06-13T15:18:07.1239999Z"`, `"2025-06-13t15:18:07+02:00"`, `"2025-06-13T24:00:00.000Z"`, `""`, `"1970-01-01"`,
			},
			left: []string{`"2025-06-13T15:18:07.123\u005a"`, `"2025\/06"`, `null`, `1749827887000`, `"2025-06-13T15:18:07.12٣Z"`},
		},
		"latitude": {
			taken: []string{
				"0", "-0", "-0.0", "0.0", "41.4349316", "-214.7483648", "214.7483648", "214.7483649", "90.00000000000001", "0.1234567890123",
				"0.12345678901234", "0.123456789012345", "123.123456789012345678901234567890", "0." + strings.Repeat("0", 400) + "1", strings.Repeat("9", 400),
				"179.99999999999997", "0.30000000000000004", "2.2250738585072011", "-0." + strings.Repeat("0", 20000),
			},
			left: []string{
				"1e1", "1E1", "1e-7", "5e-324", "0e0", "1e", "1e+", "1.5e2", "01", "00", "-01", "-", "--1", "+1", ".5", "1.", "1..2", "1.2.3", "-.5", "1.e1", "0x10", "1_0",
				"NaN", "Infinity", "-Infinity", "null", "true", `"1"`, "{}", "[]", "", "1 ", "1a", "1\x00", "٣", "1-", "1+1",
			},
		},
		"altitude": {
			taken: []string{"-0", "0", "24", "-12.5", "16777217", "340282346638528860000000000000000000000", "340282356779733650000000000000000000000", "0.1"},
			left:  []string{"1e38", "1e39", "1e-46", "-1e999", "null", "024"},
		},
		"angle": {taken: []string{"-0", "0", "65535", "65535.00001", "65536", "-1", "359.9"}, left: []string{"1e2", "null", `"1"`}},
		"speed": {taken: []string{"-0", "0", "61", "-0.1", "0.1", "340282346638528870000000000000000000000"}, left: []string{"6e1", "null"}},
		"satellites": {
			taken: []string{"0", "8", "255", "256", "-0", "-1", "8.5", "8.0", "-0.0", strings.Repeat("9", 30), "-" + strings.Repeat("9", 30), "9223372036854775807", "9223372036854775808"},
			left:  []string{"1e2", "08", "true", "null", `"8"`, "", "-", "8.", "8e0"},
		},
		"priority": {taken: []string{"0", "1", "2", "300", "-0"}, left: []string{"01", "1e0", "[]"}},
		"attributes": {
			taken: []string{
				`{}`, `{"":""}`, `{"a":1}`, `{"a":1,"a":2}`, `{"1":true,"2":false,"3":null,"4":"x","5":-0,"6":-0.10}`, `{"a":9007199254740993}`,
				`{"a":"1e5","b":"[","c":"]","d":":,","e":"' / < > & ~"}`, `{"1e5":1}`, long(numericFractionDigits - 1), long(numericFractionDigits),
				digits(numericFractionDigits - 6), `{"a":0.` + strings.Repeat("0", 16375) + `}`,
				`{"a":{"__bigint":"0"}}`, `{"a":{"__bigint":"-5"},"b":1,"c":{"__bigint":"18446744073709551615"}}`, `{"__bigint":{"__bigint":"1"}}`,
				`{"__bigint":"x"}`, `{"__buffer_b64":"x"}`, `{"a":{"__bigint":""}}`, `{"a":{"__bigint":"-0"}}`, `{"a":{"__bigint":"007"}}`,
				`{"a":{"__bigint":"1e5"}}`, `{"a":{"__bigint":" 1"}}`, `{"a":{"__bigint":"1.5"}}`, `{"a":{"__bigint":"` + strings.Repeat("9", 16000) + `"}}`,
				`{"a":{"__buffer_b64":""}}`, `{"a":{"__buffer_b64":"AAH/"},"event":385}`, `{"a":{"__buffer_b64":"YQ=="}}`, `{"a":{"__buffer_b64":"YR=="}}`,
				`{"a":{"__buffer_b64":"YQ"}}`, `{"a":{"__buffer_b64":"a-b_"}}`, `{"a":{"__buffer_b64":"` + strings.Repeat("AAAA", 1000) + `"}}`,
				`{"a":{"__bigint":"1"},"b":{"__bigint":"x"},"c":{"__buffer_b64":"!"}}`, `{"a":{"__buffer_b64":"!"},"b":{"__bigint":"x"}}`,
			},
			left: []string{
				long(numericFractionDigits + 1), digits(numericFractionDigits), digits(131072), digits(131073), `{"a":0.` + strings.Repeat("0", 16384) + `}`,
				`{"a":{"__bigint":"` + strings.Repeat("9", 131072) + `"}}`, `{"a":{"__bigint":"` + strings.Repeat("9", 131073) + `"}}`,
				`{"a":1e5}`, `{"a":1E5}`, `{"a":1e131072}`, `{"a":-1.5e-7}`, `{"a":[]}`, `{"a":[1]}`, `{"a":{}}`, `{"a":{"b":1}}`,
				`{"a":{"__bigint":"1","b":1}}`, `{"a":{"b":1,"__bigint":"1"}}`, `{"a":{"__bigint":"1","__bigint":"2"}}`, `{"a":{"__bigint":5}}`, `{"a":{"__bigint":null}}`,
				`{"a":{"__bigint":{"__bigint":"1"}}}`, `{"a":{"__bigint":["1"]}}`, `{"a":[{"__bigint":"1"}]}`, `{"a":{"\u005f_bigint":"1"}}`, `{"a":{"__bigint":"\u0031"}}`,
				`{"a":{"__buffer_b64":"AAH\/"}}`, `{"a":{"__buffer_b64":"YWFh\nYWFh"}}`, "{\"a\":{\"__buffer_b64\":\"YWFh\nYWFh\"}}", "{\"a\":{\"__buffer_b64\":\"YWFh\r\n\"}}",
				`{"a":{"__bigint":"1"}`, `{"a":{"__bigint":"1"}}}`, `{"a":{"__bigint":"1"`, `{"a":{"__bigint":"`, `{"a":{"__bigint`, `{"a":{ "__bigint":"1"}}`,
				`{"a":{"__bigint":"{"}}`, `{"a":{"__bigint":"}"}}`, `{"a":"{\"__bigint\":\"1\"}"}`, `{"a":"{","b":{"__bigint":"1"}}`, `{"{":1}`, `{"}":1}`,
				`{"a":"\u0000"}`, `{"a\u0000":1}`, `{"a":"\ud800"}`, `{"a":"\\"}`, `{"a":"é"}`, `{"é":1}`, "{\"a\":\"\x01\"}", "{\"a\":\"\x7f\"}", "{\"\x1f\":1}", "{\"a\":\"\xff\"}",
				`{"a":01}`, `{"a":-}`, `{"a":1.}`, `{"a":.1}`, `{"a":+1}`, `{"a":tru}`, `{"a":truE}`, `{"a":True}`, `{"a":nul}`, `{"a":fals}`, `{"a":undefined}`, `{"a":NaN}`, `{"a":truefalse}`,
				`{"a":"x"1}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,"a":1}`, `{"a":1,,"b":2}`, `{"a" 1}`, `{"a"::1}`, `{a:1}`, `{1:1}`, `{"a":1;"b":2}`, `{"a":1]`, `{"a":1`, `{"a":`, `{"a`, `{"`, `{`, ``, `[]`, `null`, `"{}"`, `1`,
				strings.Repeat(`{"a":`, 64) + "1" + strings.Repeat("}", 64), strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65), `{"a":1/**/}`,
			},
		},
	} {
		t.Run(key, func(t *testing.T) {
			for _, value := range c.taken {
				text := payload(key, value)
				require.True(t, isSplit(text), "%.80s", value)
				requireGeneral(t, text)
			}
			for _, value := range c.left {
				text := bytes.Replace(payload(key, "VALUE"), []byte("VALUE"), []byte(value), 1)
				require.False(t, isSplit(text), "%.80s", value)
				requireGeneral(t, text)
			}
		})
	}
}

// Every payload that differs in one byte from one that is split: another byte, none, one more, or the end.
func TestSplit_OneByteOff(t *testing.T) {
	base := []byte(`{"device_id":"35","timestamp":"2024-02-29T15:18:07.12Z","latitude":41.4,"longitude":-2.1,"altitude":24,` +
		`"angle":9,"speed":60,"satellites":8,"priority":0,"attributes":{"1":10,"a":"x","b":{"__bigint":"10"},"c":true,"d":{"__buffer_b64":"YQ=="},"e":-0.5}}`)
	require.True(t, isSplit(base))
	taken := 0
	try := func(parts ...[]byte) {
		text := bytes.Join(parts, nil)
		if isSplit(text) {
			taken++
		}
		requireGeneral(t, text)
	}
	for i := range base {
		try(base[:i])
		try(base[:i], base[i+1:])
		for _, c := range []byte("\x00\x1f \n\",-.09:Ee\\]{}~\x7f\x80\xc3\xff") {
			try(base[:i], []byte{c}, base[i+1:])
			try(base[:i], []byte{c}, base[i:])
		}
	}
	require.Greater(t, taken, 1000, "the cases are those that are not split")
}

func TestDecoder_AllocatesTheIdentifierOnly(t *testing.T) {
	for name, text := range map[string][]byte{
		"flat":      payload(),
		"sentinels": attributesOf(`{"78":{"__bigint":"18446744073709551615"},"385":{"__buffer_b64":"` + strings.Repeat("AAAA", 64) + `"}}`),
		"general":   attributesOf(`{"1":[1e5,"é"],"78":{"__bigint":"5"},"385":{"__buffer_b64":"AAH/"}}`),
		"reordered": []byte(`{"speed":1,` + string(payload()[1:])),
	} {
		t.Run(name, func(t *testing.T) {
			var d Decoder
			d.Reset()
			_, err := d.Decode(text)
			require.NoError(t, err)
			require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
				d.Reset()
				_, _ = d.Decode(text)
			}), 1.0)
		})
	}
}

// Nothing of one payload shows in the next one, whichever path each of them takes, and whether it is right.
func TestDecoder_KeepsNothingOfThePayloadBefore(t *testing.T) {
	payloads := [][]byte{
		payload("attributes", ""), payload("device_id", `"é"`, "attributes", ""), payload(), attributesOf(`{"1":[{"__bigint":"5"}, 1]}`),
		attributesOf(`{"1":{"__bigint":"5"}}`), attributesOf(`{"1":{"__bigint":"x"}}`), attributesOf(`{"1":1,"2":[{"__bigint":"x"}]}`),
		attributesOf(`{"1":1e131072}`), attributesOf(`{"1":{"2":3}, "4":"\u0041"}`), attributesOf(`{"1":"\ud83d"}`), payload("device_id", ""), payload("priority", "-1"), {},
	}
	for _, first := range payloads {
		for _, second := range payloads {
			p, err := new(Decoder).Decode(second)
			want := result(t, p, err)
			var d Decoder
			_, _ = d.Decode(first)
			p, err = d.Decode(second)
			require.Equal(t, want, result(t, p, err), "%s after %s", second, first)
		}
	}
}

func FuzzDecoder_FastEqualsGeneral(f *testing.F) {
	for _, payload := range append(corpusPayloads(f), fleetPayloads(100)...) {
		f.Add(payload)
	}
	for _, attributes := range oddBags() {
		f.Add(attributesOf(attributes))
	}
	f.Fuzz(func(t *testing.T, payload []byte) { requireGeneral(t, payload) })
}

// FuzzDecoder_FastEqualsGeneralByValue keeps the frame, so that most inputs reach the values.
func FuzzDecoder_FastEqualsGeneralByValue(f *testing.F) {
	table := keys()
	for _, payload := range append(corpusPayloads(f), fleetPayloads(100)...) {
		var v valueTexts
		_, ok := split(payload, &table, &v)
		require.True(f, ok)
		f.Add(string(v[0]), string(v[1]), string(v[2]), string(v[3]), string(v[4]), string(v[5]), string(v[6]), string(v[7]), string(v[8]), string(v[9]))
	}
	for _, number := range []string{"-0", "-0.0", "1e5", "5e-324", "0.30000000000000004", "123456789012345678", "255", "256", "01", "1."} {
		f.Add(`"a b"`, `"0000-02-29T23:59:59.999Z"`, number, number, number, number, number, number, number, `{"a":`+number+`}`)
	}
	for _, attributes := range oddBags() {
		f.Add(`"é\u0041"`, `"2016-12-31T23:59:60+00:00"`, "1", "-1", "0", "0", "0", "0", "0", attributes)
	}
	f.Fuzz(func(t *testing.T, id, ts, lat, lon, alt, angle, speed, satellites, priority, attributes string) {
		requireGeneral(t, fmt.Appendf(nil, `{"device_id":%s,"timestamp":%s,"latitude":%s,"longitude":%s,"altitude":%s,"angle":%s,"speed":%s,`+
			`"satellites":%s,"priority":%s,"attributes":%s}`, id, ts, lat, lon, alt, angle, speed, satellites, priority, attributes))
	})
}

// oddBags are right and wrong attributes that are near to what split takes.
func oddBags() []string {
	return []string{
		`{}`, `{"a":[{"__bigint":"-1"},{"__buffer_b64":"AAH/"}],"\ud83d\ude9a":1e5}`, `{"a":{"__bigint":"1","b":2}}`, `{"__bigint":"5"}`,
		`{"a":{"__bigint":"007"},"b":{"__buffer_b64":"!"}}`, `{"a":"\u0000"}`, `{"a":"\ud83d"}`, `{"a":"\\\"\/\b\f\n\r\t"}`, `{"a":1e400,"b":-0,"c":0.10}`,
		`{"a":1,"a":2,"":null}`, "{ \"a\" :\t[ ] }", `{"a":{"__buffer_b64":"YQ=="},"b":"{","c":"}"}`, "{\"a\":\"\x01\x7f\"}", `{"a":tru}`, `{"a":1,}`,
		strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65),
	}
}
