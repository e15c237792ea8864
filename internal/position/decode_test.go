package position

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// payload builds a good payload with some of its members replaced; an empty text removes one.
func payload(replace ...string) []byte {
	members := []string{
		"device_id", `"356307042441013"`,
		"timestamp", `"2025-06-13T15:18:07.123Z"`,
		"latitude", "41.4349316",
		"longitude", "-2.2190583",
		"altitude", "24",
		"angle", "119",
		"speed", "61",
		"satellites", "8",
		"priority", "1",
		"attributes", `{"1":1}`,
	}
	var b strings.Builder
	for i := 0; i < len(members); i += 2 {
		value := members[i+1]
		for j := 0; j < len(replace); j += 2 {
			if replace[j] == members[i] {
				value = replace[j+1]
			}
		}
		if value == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%s", members[i], value)
	}
	return []byte("{" + b.String() + "}")
}

func attributesOf(text string) []byte { return payload("attributes", text) }

func TestDecoder_ReadsARecord(t *testing.T) {
	var d Decoder
	p, err := d.Decode(payload())
	require.NoError(t, err)
	require.Equal(t, Position{
		DeviceID:   "356307042441013",
		Timestamp:  time.Date(2025, 6, 13, 15, 18, 7, 123_000_000, time.UTC),
		Latitude:   41.4349316,
		Longitude:  -2.2190583,
		Altitude:   24,
		Angle:      119,
		Speed:      61,
		Satellites: 8,
		Priority:   1,
		Attributes: []byte(`{"1":1}`),
	}, p)
}

func TestDecoder_AcceptsWhatTheContractAllows(t *testing.T) {
	cases := map[string]struct {
		payload []byte
		check   func(t *testing.T, p Position)
	}{
		"no attributes": {payload("attributes", ""), func(t *testing.T, p Position) {
			require.Equal(t, "{}", string(p.Attributes))
		}},
		"unknown keys of any type": {[]byte(`{"x":{"a":["\ud800",{}]},` + string(payload()[1:])), func(t *testing.T, p Position) {
			require.Equal(t, "356307042441013", p.DeviceID)
		}},
		"white space": {[]byte(" \n" + strings.ReplaceAll(string(payload()), ",", " ,\t") + "\r\n"), func(t *testing.T, p Position) {
			require.Equal(t, uint8(1), p.Priority)
		}},
		"an offset other than Z": {payload("timestamp", `"2025-06-13T17:18:07+02:00"`), func(t *testing.T, p Position) {
			require.Equal(t, time.Date(2025, 6, 13, 15, 18, 7, 0, time.UTC), p.Timestamp)
		}},
		"digits below the microsecond": {payload("timestamp", `"2025-06-13T15:18:07.123456789Z"`), func(t *testing.T, p Position) {
			require.Equal(t, 123_456_000, p.Timestamp.Nanosecond())
		}},
		"limits of the ranges": {payload("latitude", "-214.7483648", "longitude", "214.7483648", "angle", "65535", "speed", "0", "satellites", "255", "priority", "0"), func(t *testing.T, p Position) {
			require.Equal(t, []any{-214.7483648, 214.7483648, float32(65535), float32(0), uint8(255), uint8(0)},
				[]any{p.Latitude, p.Longitude, p.Angle, p.Speed, p.Satellites, p.Priority})
		}},
		"an escaped identifier": {payload("device_id", `"caf\u00e9 \"\ud83d\ude9a\""`), func(t *testing.T, p Position) {
			require.Equal(t, `café "🚚"`, p.DeviceID)
		}},
		"64 bytes of identifier": {payload("device_id", `"`+strings.Repeat("x", 64)+`"`), func(t *testing.T, p Position) {
			require.Len(t, p.DeviceID, 64)
		}},
		"a key twice: the last counts, as in JavaScript": {[]byte(`{"speed":1,` + string(payload()[1:])), func(t *testing.T, p Position) {
			require.Equal(t, float32(61), p.Speed)
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var d Decoder
			p, err := d.Decode(c.payload)
			require.NoError(t, err)
			c.check(t, p)
		})
	}
}

func TestDecoder_RejectsWithKeyAndReason(t *testing.T) {
	cases := map[string]struct {
		payload []byte
		reason  Reason
		key     string
	}{
		"no payload":                      {nil, NotJSON, ""},
		"empty":                           {[]byte{}, NotJSON, ""},
		"no JSON":                         {[]byte("hello"), NotJSON, ""},
		"an array":                        {[]byte("[]"), NotJSON, ""},
		"cut short":                       {payload()[:100], NotJSON, ""},
		"trailing comma":                  {[]byte(strings.Replace(string(payload()), `{"1":1}`, `{"1":1},`, 1)), NotJSON, ""},
		"two objects":                     {append(payload(), payload()...), NotJSON, ""},
		"a letter behind":                 {append(payload(), 'x'), NotJSON, ""},
		"bytes that are no UTF-8":         {payload("device_id", "\"\xff\""), NotJSON, ""},
		"a bare number for a value":       {payload("speed", "01"), NotJSON, ""},
		"a control character":             {payload("device_id", "\"a\x01\""), NotJSON, ""},
		"no device_id":                    {payload("device_id", ""), MissingKey, "device_id"},
		"no timestamp":                    {payload("timestamp", ""), MissingKey, "timestamp"},
		"no latitude":                     {payload("latitude", ""), MissingKey, "latitude"},
		"no longitude":                    {payload("longitude", ""), MissingKey, "longitude"},
		"no altitude":                     {payload("altitude", ""), MissingKey, "altitude"},
		"no angle":                        {payload("angle", ""), MissingKey, "angle"},
		"no speed":                        {payload("speed", ""), MissingKey, "speed"},
		"no satellites":                   {payload("satellites", ""), MissingKey, "satellites"},
		"no priority":                     {payload("priority", ""), MissingKey, "priority"},
		"empty device_id":                 {payload("device_id", `""`), OutOfRange, "device_id"},
		"65 bytes of device_id":           {payload("device_id", `"`+strings.Repeat("x", 65)+`"`), OutOfRange, "device_id"},
		"unprintable device_id":           {payload("device_id", `"a\u0007"`), OutOfRange, "device_id"},
		"DEL in device_id":                {payload("device_id", "\"a\x7f\""), OutOfRange, "device_id"},
		"U+0000 in device_id":             {payload("device_id", `"a\u0000"`), UnstorableString, "device_id"},
		"unpaired surrogate in device_id": {payload("device_id", `"a\udc00"`), UnstorableString, "device_id"},
		"device_id a number":              {payload("device_id", "356307042441013"), WrongType, "device_id"},
		"timestamp a number":              {payload("timestamp", "1749827887"), WrongType, "timestamp"},
		"timestamp without offset":        {payload("timestamp", `"2025-06-13T15:18:07"`), OutOfRange, "timestamp"},
		"the 31st of June":                {payload("timestamp", `"2025-06-31T15:18:07Z"`), OutOfRange, "timestamp"},
		"latitude null":                   {payload("latitude", "null"), WrongType, "latitude"},
		"latitude a string":               {payload("latitude", `"41"`), WrongType, "latitude"},
		"latitude beyond 32 bits":         {payload("latitude", "214.7483649"), OutOfRange, "latitude"},
		"longitude too far west":          {payload("longitude", "-215"), OutOfRange, "longitude"},
		"altitude beyond real":            {payload("altitude", "1e39"), OutOfRange, "altitude"},
		"altitude beyond double":          {payload("altitude", "-1e999"), OutOfRange, "altitude"},
		"angle negative":                  {payload("angle", "-1"), OutOfRange, "angle"},
		"speed negative":                  {payload("speed", "-0.1"), OutOfRange, "speed"},
		"satellites with a fraction":      {payload("satellites", "8.5"), WrongType, "satellites"},
		"satellites 256":                  {payload("satellites", "256"), OutOfRange, "satellites"},
		"priority negative":               {payload("priority", "-1"), OutOfRange, "priority"},
		"priority of 30 digits":           {payload("priority", strings.Repeat("9", 30)), OutOfRange, "priority"},
		"priority true":                   {payload("priority", "true"), WrongType, "priority"},
		"attributes null":                 {attributesOf("null"), WrongType, "attributes"},
		"attributes an array":             {attributesOf("[]"), WrongType, "attributes"},
		"U+0000 in a value":               {attributesOf(`{"1":"a\u0000b"}`), UnstorableString, "attributes"},
		"U+0000 in a key":                 {attributesOf(`{"a\u0000":1}`), UnstorableString, "attributes"},
		"high surrogate at the end":       {attributesOf(`{"1":"a\ud83d"}`), UnstorableString, "attributes"},
		"high surrogate before text":      {attributesOf(`{"1":"\ud83dabcdef"}`), UnstorableString, "attributes"},
		"two high surrogates":             {attributesOf(`{"1":"\ud83d\ud83d\ude9a"}`), UnstorableString, "attributes"},
		"low surrogate alone":             {attributesOf(`{"1":"\\\ude9a"}`), UnstorableString, "attributes"},
		"number with huge exponent":       {attributesOf(`{"1":1e131072}`), UnstorableNumber, "attributes"},
		"number with tiny exponent":       {attributesOf(`{"1":1e-16384}`), UnstorableNumber, "attributes"},
		"number too long":                 {attributesOf(`{"1":` + strings.Repeat("9", 131073) + `}`), UnstorableNumber, "attributes"},
		"fraction too long":               {attributesOf(`{"1":0.` + strings.Repeat("0", 16384) + `}`), UnstorableNumber, "attributes"},
		"exponent beyond any integer":     {attributesOf(`{"1":1e99999999999999999999}`), UnstorableNumber, "attributes"},
		"bigint too long":                 {attributesOf(`{"1":{"__bigint":"` + strings.Repeat("9", 131073) + `"}}`), UnstorableNumber, "attributes"},
		"65 objects deep":                 {attributesOf(strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65)), TooDeep, "attributes"},
		"65 deep with arrays":             {attributesOf(`{"a":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`), TooDeep, "attributes"},
		"bigint a number":                 {attributesOf(`{"1":{"__bigint":5}}`), MalformedSentinel, "attributes"},
		"bigint empty":                    {attributesOf(`{"1":{"__bigint":""}}`), MalformedSentinel, "attributes"},
		"bigint a sign":                   {attributesOf(`{"1":{"__bigint":"-"}}`), MalformedSentinel, "attributes"},
		"bigint minus zero":               {attributesOf(`{"1":{"__bigint":"-0"}}`), MalformedSentinel, "attributes"},
		"bigint with leading zero":        {attributesOf(`{"1":{"__bigint":"007"}}`), MalformedSentinel, "attributes"},
		"bigint hexadecimal":              {attributesOf(`{"1":{"__bigint":"0x10"}}`), MalformedSentinel, "attributes"},
		"bigint with an exponent":         {attributesOf(`{"1":{"__bigint":"1e5"}}`), MalformedSentinel, "attributes"},
		"buffer an object":                {attributesOf(`{"1":{"__buffer_b64":{"__bigint":"1"}}}`), MalformedSentinel, "attributes"},
		"buffer not base64":               {attributesOf(`{"1":{"__buffer_b64":"a-b_"}}`), MalformedSentinel, "attributes"},
		"buffer without padding":          {attributesOf(`{"1":{"__buffer_b64":"YQ"}}`), MalformedSentinel, "attributes"},
		"buffer with stray bits":          {attributesOf(`{"1":{"__buffer_b64":"YR=="}}`), MalformedSentinel, "attributes"},
		"buffer over two lines":           {attributesOf(`{"1":{"__buffer_b64":"YWFh\nYWFh"}}`), MalformedSentinel, "attributes"},
		"sentinel deep inside":            {attributesOf(`{"1":[[{"a":{"__bigint":"x"}}]]}`), MalformedSentinel, "attributes"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var d Decoder
			p, err := d.Decode(c.payload)
			require.Equal(t, Position{}, p)
			var e *Error
			require.True(t, errors.As(err, &e), "error is %v", err)
			require.Equal(t, []string{string(c.reason), c.key}, []string{string(e.Reason), e.Key}, e.Error())
		})
	}
}

func TestDecoder_RewritesAttributes(t *testing.T) {
	cases := map[string]struct{ in, out string }{
		"nothing":                        {`{}`, `{}`},
		"digits stay":                    {`{"a":9007199254740993,"b":0.10,"c":-1E+2,"d":5e-324}`, `{"a":9007199254740993,"b":0.10,"c":-1E+2,"d":5e-324}`},
		"order and kinds":                {`{"b":[1,"x",null,true,false,{}],"a":{"c":[]}}`, `{"b":[1,"x",null,true,false,{}],"a":{"c":[]}}`},
		"a plain bag goes as it stands":  {"{ \"a\" : 1 }", "{ \"a\" : 1 }"},
		"white space goes with the rest": {"{ \"a\" : [ 1 , 2 ] }", `{"a":[1,2]}`},
		"a digit before an e":            {`{"a":"1e5","b":2e5,"c":"true","d":true,"e":"E"}`, `{"a":"1e5","b":2e5,"c":"true","d":true,"e":"E"}`},
		"bigint":                         {`{"78":{"__bigint":"18446744073709551615"}}`, `{"78":18446744073709551615}`},
		"negative bigint":                {`{"78":{"__bigint":"-9223372036854775808"}}`, `{"78":-9223372036854775808}`},
		"bigint zero":                    {`{"78":{"__bigint":"0"}}`, `{"78":0}`},
		"bigint in an array":             {`{"a":[{"__bigint":"1"},{"__bigint":"2"}]}`, `{"a":[1,2]}`},
		"buffer":                         {`{"385":{"__buffer_b64":"AAH/"}}`, `{"385":"\\x0001ff"}`},
		"empty buffer":                   {`{"385":{"__buffer_b64":""}}`, `{"385":"\\x"}`},
		"escaped solidus in base64":      {`{"385":{"__buffer_b64":"AAH\/"}}`, `{"385":"\\x0001ff"}`},
		"sentinel with an escaped key":   {`{"1":{"\u005f_bigint":"5"}}`, `{"1":5}`},
		"two keys are no sentinel":       {`{"1":{"__bigint":"x","a":1}}`, `{"1":{"__bigint":"x","a":1}}`},
		"second key is no sentinel":      {`{"1":{"a":1,"__bigint":"x"}}`, `{"1":{"a":1,"__bigint":"x"}}`},
		"the bag itself is no sentinel":  {`{"__bigint":"5"}`, `{"__bigint":"5"}`},
		"escapes":                        {`{"a\"b":"\\\u00e9\ud83d\ude9a\u0001"}`, `{"a\"b":"\\é🚚\u0001"}`},
		"64 levels":                      {strings.Repeat(`{"a":`, 64) + "1" + strings.Repeat("}", 64), strings.Repeat(`{"a":`, 64) + "1" + strings.Repeat("}", 64)},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var d Decoder
			p, err := d.Decode(attributesOf(c.in))
			require.NoError(t, err)
			require.Equal(t, c.out, string(p.Attributes))
		})
	}
}

// Attributes of a batch share one buffer, which may move as it grows; a failed payload in the
// middle must leave the others alone.
func TestDecoder_KeepsAttributesUntilReset(t *testing.T) {
	var d Decoder
	var got, want []string
	var positions []Position
	for i := range 1000 {
		if i%10 == 0 {
			_, err := d.Decode(attributesOf(`{"1":2,"3":{"__bigint":"x"}}`))
			require.Error(t, err)
		}
		text := fmt.Sprintf(`{"%d":"%s"}`, i, strings.Repeat("x", i%100))
		p, err := d.Decode(attributesOf(text))
		require.NoError(t, err)
		positions, want = append(positions, p), append(want, text)
	}
	for _, p := range positions {
		got = append(got, string(p.Attributes))
	}
	require.Equal(t, want, got)

	record := payload()
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
		d.Reset()
		_, _ = d.Decode(record)
	}), 1.0, "only the identifier is allocated")
}

func TestDecoder_SaysWhatThePayloadIs(t *testing.T) {
	for text, want := range map[string]string{
		"":            "not_json: empty, not an object",
		" \r\n\t":     "not_json: empty, not an object",
		"[]":          "not_json: a JSON array, not an object",
		` [{"a":1}] `: "not_json: a JSON array, not an object",
		`"text"`:      "not_json: a JSON string, not an object",
		"-1.5e3":      "not_json: a JSON number, not an object",
		"true":        "not_json: a JSON bool, not an object",
		"null":        "not_json: a JSON null, not an object",
		"[] []":       "not_json: not an object; something follows the array",
		"1 x":         "not_json: not an object; something follows the number",
		"\xff":        "not_json: not valid UTF-8",
	} {
		var d Decoder
		_, err := d.Decode([]byte(text))
		require.EqualError(t, err, want, text)
	}
	for _, text := range []string{"[1", `"text`, "01", "nul", "[1,]", "hello", "\ufeff{}"} {
		var d Decoder
		_, err := d.Decode([]byte(text))
		require.ErrorContains(t, err, "not_json: ", text)
		require.NotContains(t, err.Error(), "a JSON", text)
	}
	var d Decoder
	_, err := d.Decode(nil)
	require.EqualError(t, err, "not_json: the entry has no field payload")
}

func TestDecoder_TimestampIsRFC3339(t *testing.T) {
	at := func(year int, month time.Month, day, hour, minute, second, micro int) time.Time {
		return time.Date(year, month, day, hour, minute, second, micro*1000, time.UTC)
	}
	for text, want := range map[string]time.Time{
		"2025-06-13T15:18:07Z":                   at(2025, 6, 13, 15, 18, 7, 0),
		"2025-06-13t15:18:07z":                   at(2025, 6, 13, 15, 18, 7, 0),
		"2025-06-13T15:18:07-00:00":              at(2025, 6, 13, 15, 18, 7, 0),
		"2025-06-13T15:18:07+23:59":              at(2025, 6, 12, 15, 19, 7, 0),
		"2025-06-13T15:18:07-23:59":              at(2025, 6, 14, 15, 17, 7, 0),
		"2025-06-13T15:18:07.1Z":                 at(2025, 6, 13, 15, 18, 7, 100_000),
		"2025-06-13T15:18:07.0000019Z":           at(2025, 6, 13, 15, 18, 7, 1),
		"2025-06-13T23:59:59.99999999999999999Z": at(2025, 6, 13, 23, 59, 59, 999_999),
		"2024-02-29T00:00:00Z":                   at(2024, 2, 29, 0, 0, 0, 0),
		"2000-02-29T00:00:00.000+00:30":          at(2000, 2, 28, 23, 30, 0, 0),
		"2016-12-31T23:59:60Z":                   at(2017, 1, 1, 0, 0, 0, 0),
		"2016-12-31T15:59:60.5-08:00":            at(2017, 1, 1, 0, 0, 0, 500_000),
		"1990-07-01T01:29:60+01:30":              at(1990, 7, 1, 0, 0, 0, 0),
		"0000-01-01T00:00:00Z":                   at(0, 1, 1, 0, 0, 0, 0),
		"0000-02-29T00:00:00+01:00":              at(0, 2, 28, 23, 0, 0, 0),
		"9999-12-31T23:59:59.999999Z":            at(9999, 12, 31, 23, 59, 59, 999_999),
	} {
		var d Decoder
		p, err := d.Decode(payload("timestamp", `"`+text+`"`))
		require.NoError(t, err, text)
		require.Equal(t, want, p.Timestamp, text)
	}
	for _, text := range []string{
		"", "Z", "2025-06-13", "2025-06-13T15:18Z", "2025-06-13T15:18:07",
		"2025-06-13T15:18:07.5", "2025-06-13T15:18:07.Z", "2025-06-13T15:18:07,5Z", "2025-06-13T15:18:07.5.5Z",
		"2025-06-13T15:18:07+24:00", "2025-06-13T15:18:07+00:60", "2025-06-13T15:18:07-99:00", "2025-06-13T15:18:07+0000",
		"2025-06-13T15:18:07+00", "2025-06-13T15:18:07+00:0", "2025-06-13T15:18:07+00:000", "2025-06-13T15:18:07+ 1:00",
		"2025-06-13T15:18:07 00:00", "2025-06-13T15:18:07ZZ", "2025-06-13T15:18:07UTC", "2025-06-13T15:18:07\u2212 01:00",
		"2025-06-13T24:00:00Z", "2025-06-13T15:60:07Z", "2025-06-13T15:18:60Z", "2025-06-13T15:18:61Z",
		"2016-12-31T23:59:60+01:00", "2016-12-30T23:59:60Z", "2016-12-31T23:58:60Z", "2016-12-31T23:59:61Z",
		"2025-00-13T15:18:07Z", "2025-13-13T15:18:07Z", "2025-06-00T15:18:07Z", "2025-06-31T15:18:07Z",
		"2025-02-29T15:18:07Z", "1900-02-29T15:18:07Z", "2025-6-13T15:18:07Z", "2025-06-13T5:18:07Z",
		"2025-06-13 15:18:07Z", "2025-06-13_15:18:07Z", "2025/06/13T15:18:07Z", "20250613T151807Z",
		"+2025-06-13T15:18:07Z", "-2025-06-13T15:18:07Z", "+012025-06-13T15:18:07Z", "12025-06-13T15:18:07Z",
		" 2025-06-13T15:18:07Z", "2025-06-13T15:18:07Z ", "2025-W24-5T15:18:07Z", "2025-06-13T15:18:0٧Z",
	} {
		var d Decoder
		_, err := d.Decode(payload("timestamp", `"`+text+`"`))
		var e *Error
		require.ErrorAs(t, err, &e, text)
		require.Equal(t, []string{string(OutOfRange), "timestamp"}, []string{string(e.Reason), e.Key}, text)
	}
}

// PostgreSQL writes numbers without exponents: what grows far beyond its text makes rows that cannot be read.
func TestDecoder_BoundsNumbersWrittenOut(t *testing.T) {
	for _, text := range []string{
		"5e-324", "-5E-324", "2.2250738585072014e-308", "-1.7976931348623157e+308", "1e308", "1e0", "0e0", "-0.0e1",
		"123456789012345678901234567890e-300", strings.Repeat("9", 131072), "-" + strings.Repeat("9", 131072),
		"0." + strings.Repeat("3", 16383), strings.Repeat("9", 1000) + "e-1000", "1." + strings.Repeat("0", 1000) + "e1000",
	} {
		for _, form := range []string{`{"1":%s}`, `{"1":[{"a":%s}],"2":{"__bigint":"1"}}`} {
			var d Decoder
			_, err := d.Decode(attributesOf(fmt.Sprintf(form, text)))
			require.NoError(t, err, "%.60s", text)
		}
	}
	for _, text := range []string{
		"1e131071", "-1E+131071", "1e-16383", "0e-16383", "0e131071", "0.1e1000", "1.5e-400", "1e330", "123.456e-789",
		"1e-327", "-0.000e-400", "1e00131071",
	} {
		for _, form := range []string{`{"1":%s}`, `{"1":[[%s]]}`, `{"1":{"__bigint":%s,"x":1}}`} {
			var d Decoder
			_, err := d.Decode(attributesOf(fmt.Sprintf(form, text)))
			var e *Error
			require.ErrorAs(t, err, &e, text)
			require.Equal(t, []string{string(UnstorableNumber), "attributes"}, []string{string(e.Reason), e.Key}, e.Error())
		}
	}
	worst := func(n int) []byte {
		return attributesOf(`{"1":[` + strings.TrimSuffix(strings.Repeat("5e-324,", n), ",") + `]}`)
	}
	var d Decoder
	_, err := d.Decode(worst(maxAddedByBag / maxAddedByNumber))
	require.NoError(t, err)
	_, err = d.Decode(worst(maxAddedByBag/maxAddedByNumber + 1))
	require.EqualError(t, err, "attributes: unstorable_number: the numbers written out are over 16777216 characters longer")
	_, err = d.Decode(worst(1))
	require.NoError(t, err, "each bag has a bound of its own")
}

func TestError_NeverHoldsCoordinates(t *testing.T) {
	var d Decoder
	_, err := d.Decode(payload("latitude", "291.2345678"))
	require.EqualError(t, err, "latitude: out_of_range: not within -214.7483648 and 214.7483648")
}

type corpusRecord struct {
	Entry struct {
		DeviceID string `json:"device_id"`
		Payload  string `json:"payload"`
	} `json:"entry"`
	Expect string `json:"expect_attributes"`
}

func corpus(t testing.TB) []corpusRecord {
	file, err := os.ReadFile("testdata/teltonika.ndjson")
	require.NoError(t, err)
	var records []corpusRecord
	for line := range strings.Lines(string(file)) {
		var r corpusRecord
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		records = append(records, r)
	}
	require.Len(t, records, 50)
	return records
}

func TestDecoder_ReadsTheCorpus(t *testing.T) {
	var d Decoder
	for _, r := range corpus(t) {
		p, err := d.Decode([]byte(r.Entry.Payload))
		require.NoError(t, err)
		require.Equal(t, r.Entry.DeviceID, p.DeviceID)
		require.JSONEq(t, r.Expect, string(p.Attributes))
	}
}

// FuzzDecoder: what is accepted is valid JSON with its digits kept, and decoding is a pure
// function of the payload. That PostgreSQL takes it too is tested in package store.
func FuzzDecoder(f *testing.F) {
	for _, r := range corpus(f) {
		f.Add([]byte(r.Entry.Payload))
	}
	f.Add(attributesOf(`{"a":[{"__bigint":"-1"},{"__buffer_b64":"AAH/"}],"\ud83d\ude9a":1e5}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		var d Decoder
		p, err := d.Decode(payload)
		if err != nil {
			var e *Error
			require.True(t, errors.As(err, &e))
			require.Equal(t, Position{}, p)
			return
		}
		require.True(t, json.Valid(payload), "accepted what is no JSON")
		require.True(t, json.Valid(p.Attributes), "attributes are no JSON: %s", p.Attributes)
		require.NotContains(t, string(p.Attributes), `\u0000`)
		again, err := d.Decode(payload)
		require.NoError(t, err)
		require.Equal(t, p, again)
	})
}

func BenchmarkDecoder_Decode(b *testing.B) {
	var payloads [][]byte
	size := 0
	for _, r := range corpus(b) {
		payloads = append(payloads, []byte(r.Entry.Payload))
		size += len(r.Entry.Payload)
	}
	var d Decoder
	b.SetBytes(int64(size / len(payloads)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%len(payloads) == 0 {
			d.Reset()
		}
		if _, err := d.Decode(payloads[i%len(payloads)]); err != nil {
			b.Fatal(err)
		}
	}
}

// One batch of large attributes must not be held by all the small ones after it.
func TestDecoder_LetsGoOfLargeBuffers(t *testing.T) {
	const large, many = 128 << 10, 64
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	var d Decoder
	before := heap()
	bag := payload("attributes", `{"a":"\n`+strings.Repeat("x", large)+`"}`)
	for range many {
		_, err := d.Decode(bag)
		require.NoError(t, err)
	}
	require.Greater(t, heap()-before, int64(many*large), "the batch needs it")
	for range 2 { // the next batch may use it, the one after that could have
		d.Reset()
		_, err := d.Decode(payload())
		require.NoError(t, err)
	}
	d.Reset()
	bag = nil
	require.Less(t, heap()-before, int64(16*large))
	runtime.KeepAlive(&d)
}
