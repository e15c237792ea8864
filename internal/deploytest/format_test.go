package deploytest

import (
	"encoding/json"
	"math"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/position"
)

const formatPage = "docs/entry-format.md"

// blocks lists the fenced blocks of a language in a Markdown text.
func blocks(text, language string) (found []string) {
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	return found
}

// examplePayload is the JSON that the examples write.
func examplePayload(t *testing.T) string {
	t.Helper()
	shown := blocks(read(t, formatPage), "json")
	require.Len(t, shown, 1)
	return strings.TrimSpace(shown[0])
}

func requireExample(t *testing.T, payload string) {
	t.Helper()
	var d position.Decoder
	p, err := d.Decode([]byte(payload))
	require.NoError(t, err, payload)
	require.JSONEq(t, `{"66":12614,"78":3886048350820987205,"385":"\\x2a90e742"}`, string(p.Attributes))
	require.Contains(t, string(p.Attributes), "3886048350820987205", "all digits")
	p.Attributes = nil
	require.Equal(t, position.Position{
		DeviceID: "356307042441013", Timestamp: time.Date(2026, 11, 26, 10, 15, 4, 0, time.UTC),
		Latitude: 54.6871555, Longitude: 25.2796514, Altitude: 112, Angle: 270, Speed: 48, Satellites: 11,
	}, p)
}

func TestEntryFormat_RedisCLIExampleIsAPosition(t *testing.T) {
	requireExample(t, examplePayload(t))
	require.Equal(t, examplePayload(t), regexp.MustCompile(`payload '(.*)'`).FindStringSubmatch(blocks(read(t, formatPage), "sh")[0])[1])
}

// The example runs in Node.js, with an object in the place of the client.
func TestEntryFormat_JavaScriptExampleIsAPosition(t *testing.T) {
	code := blocks(read(t, formatPage), "js")
	require.Len(t, code, 1)
	shown := code[0]
	for from, to := range map[string]string{
		"import Redis from \"ioredis\";\n":                  "",
		"const redis = new Redis(process.env.REDIS_URL);\n": "const redis = { xadd: async (...args) => console.log(JSON.stringify(args)) };\n",
	} {
		require.Contains(t, shown, from)
		shown = strings.Replace(shown, from, to, 1)
	}
	out, err := exec.CommandContext(t.Context(), "node", "--input-type=module", "--eval", shown).CombinedOutput()
	require.NoError(t, err, "%s", out)
	var args []any
	require.NoError(t, json.Unmarshal(out, &args), "%s", out)
	require.Equal(t, []any{
		"telemetry:t", "MAXLEN", "~", 1e6, "*", "ts", "2026-11-26T10:15:04.000Z", "device_id", "356307042441013",
		"codec", "8E", "payload", examplePayload(t),
	}, args)
}

// The literal of the Python example, read as JSON: CI has no Python.
func TestEntryFormat_PythonExampleIsAPosition(t *testing.T) {
	code := blocks(read(t, formatPage), "python")
	require.Len(t, code, 1)
	m := regexp.MustCompile(`(?s)\nposition = (\{.*?\n\})\n`).FindStringSubmatch(code[0])
	require.NotNil(t, m)
	literal := regexp.MustCompile(`,(\s*\})`).ReplaceAllString(m[1], "$1")
	literal = strings.Replace(literal, `base64.b64encode(bytes.fromhex("2a90e742")).decode()`, `"KpDnQg=="`, 1)
	requireExample(t, literal)
}

// with returns the example's payload with another value of one key.
func with(t *testing.T, key, value string) []byte {
	t.Helper()
	var payload map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(examplePayload(t)), &payload))
	if payload[key] = json.RawMessage(value); value == "" {
		delete(payload, key)
	}
	text, err := json.Marshal(payload)
	require.NoError(t, err)
	return text
}

// What the table says of each key holds for the decoder and for the table of the database.
func TestEntryFormat_KeysAreThoseOfTheDecoder(t *testing.T) {
	reason := func(key, value string) position.Reason {
		var d position.Decoder
		_, err := d.Decode(with(t, key, value))
		if err == nil {
			return ""
		}
		var refused *position.Error
		require.ErrorAs(t, err, &refused)
		return refused.Reason
	}
	_, part, _ := strings.Cut(read(t, formatPage), "\n## Keys of the payload\n")
	part, _, _ = strings.Cut(part, "\n## ")
	rows := regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (\\w+) \\| (.+) \\|.*\\| `([a-z ]+)`(?:, column `(\\w+)`)? \\|$").FindAllStringSubmatch(part, -1)
	require.Len(t, rows, 10)
	migration := read(t, "sql/migrations/20261123000001_create_positions.sql")
	limits := 0
	for _, row := range rows {
		key, kind, allowed, column := row[1], row[2], row[3], row[1]
		if row[5] != "" {
			column = row[5]
		}
		require.Regexp(t, `(?m)^    `+column+`\s+`+row[4]+`\b`, migration)
		require.Equal(t, position.WrongType, reason(key, "null"), key)
		wrong := map[string]string{"string": "1", "number": `"1"`, "integer": "9.0", "object": "[]"}[kind]
		require.Equal(t, position.WrongType, reason(key, wrong), key)
		absent := position.MissingKey
		if key == "attributes" {
			absent = ""
		}
		require.Equal(t, absent, reason(key, ""), key)
		if m := regexp.MustCompile(`^(-?[\d.]+) to ([\d.]+)$`).FindStringSubmatch(allowed); m != nil {
			limits++
			least, most := float(t, m[1]), float(t, m[2])
			require.Empty(t, reason(key, m[1]), key)
			require.Empty(t, reason(key, m[2]), key)
			for _, beyond := range []float64{least - 1, most + 1} {
				require.Equal(t, position.OutOfRange, reason(key, strconv.FormatFloat(beyond, 'f', -1, 64)), key)
			}
		}
	}
	require.Equal(t, 5, limits)
	require.Empty(t, reason("altitude", strconv.FormatFloat(-math.MaxFloat32, 'g', -1, 64)))
	require.Equal(t, position.OutOfRange, reason("altitude", "1e39"))
	require.Equal(t, position.OutOfRange, reason("speed", "-0.1"))
	require.Empty(t, reason("device_id", `"`+strings.Repeat("x", 64)+`"`))
	require.Equal(t, position.OutOfRange, reason("device_id", `"`+strings.Repeat("x", 65)+`"`))
	require.Empty(t, reason("attributes", strings.Repeat(`{"a":`, position.MaxDepth)+"1"+strings.Repeat("}", position.MaxDepth)))
	require.Contains(t, read(t, formatPage), "at most "+strconv.Itoa(position.MaxDepth)+" levels deep")
}

func float(t *testing.T, text string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(text, 64)
	require.NoError(t, err)
	return v
}

// Each reason is caused as the page says.
func TestEntryFormat_ReasonsHaveTheCausesShown(t *testing.T) {
	for want, payload := range map[position.Reason][]byte{
		position.NotJSON:           nil,
		position.MissingKey:        with(t, "speed", ""),
		position.WrongType:         with(t, "satellites", "9.0"),
		position.OutOfRange:        with(t, "angle", "-1"),
		position.MalformedSentinel: with(t, "attributes", `{"1":{"__bigint":"007"}}`),
		position.UnstorableString:  with(t, "attributes", `{"1":"\u0000"}`),
		position.UnstorableNumber:  with(t, "attributes", `{"1":1e400}`),
		position.TooDeep:           with(t, "attributes", strings.Repeat(`{"a":`, 65)+"1"+strings.Repeat("}", 65)),
	} {
		var d position.Decoder
		_, err := d.Decode(payload)
		var refused *position.Error
		require.ErrorAs(t, err, &refused, want)
		require.Equal(t, want, refused.Reason)
	}
}
