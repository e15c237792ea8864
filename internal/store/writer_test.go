package store

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/position"
	"processor/internal/servertest"
)

const allRows = `SELECT concat_ws(' ', device_id, to_char(ts AT TIME ZONE 'UTC', 'HH24:MI:SS'), latitude, speed, attributes) FROM positions ORDER BY device_id, ts`

func at(device string, second int, speed float32, attributes string) position.Position {
	return position.Position{
		DeviceID:   device,
		Timestamp:  time.Date(2026, 11, 23, 12, 0, second, 0, time.UTC),
		Latitude:   1.5,
		Speed:      speed,
		Attributes: []byte(attributes),
	}
}

func TestWriter_CountsAndMerges(t *testing.T) {
	type write struct {
		batch []position.Position
		want  Result
	}
	cases := map[string]struct {
		writes []write
		rows   []string
	}{
		"new rows, unsorted": {
			[]write{{[]position.Position{at("b", 1, 1, `{}`), at("a", 2, 2, `{}`), at("a", 1, 3, `{}`)}, Result{Inserted: 3}}},
			[]string{`a 12:00:01 1.5 3 {}`, `a 12:00:02 1.5 2 {}`, `b 12:00:01 1.5 1 {}`},
		},
		"the same batch again": {
			[]write{
				{[]position.Position{at("a", 1, 1, `{"x": 1}`), at("b", 1, 2, `{}`)}, Result{Inserted: 2}},
				{[]position.Position{at("b", 1, 2, `{}`), at("a", 1, 1, `{"x": 1}`)}, Result{Unchanged: 2}},
			},
			[]string{`a 12:00:01 1.5 1 {"x": 1}`, `b 12:00:01 1.5 2 {}`},
		},
		"a later record with the key adds attributes and changes nothing else": {
			[]write{
				{[]position.Position{at("a", 1, 1, `{"x": 1}`)}, Result{Inserted: 1}},
				{[]position.Position{at("a", 1, 99, `{"x": 2, "y": 3}`)}, Result{Merged: 1}},
				{[]position.Position{at("a", 1, 99, `{"x": 2, "y": 4}`)}, Result{Unchanged: 1}},
			},
			[]string{`a 12:00:01 1.5 1 {"x": 1, "y": 3}`},
		},
		"a key four times in one batch": {
			[]write{{
				[]position.Position{
					at("a", 1, 1, `{"x": 1}`), at("b", 1, 5, `{}`), at("a", 1, 2, `{"x": 2, "y": 2}`),
					at("a", 1, 3, `{"x": 3}`), at("a", 1, 4, `{"z": 4}`),
				},
				Result{Inserted: 2, Merged: 2, Unchanged: 1},
			}},
			[]string{`a 12:00:01 1.5 1 {"x": 1, "y": 2, "z": 4}`, `b 12:00:01 1.5 5 {}`},
		},
		"an empty batch": {[]write{{nil, Result{}}}, []string{}},
		"numbers equal by value are no change": {
			[]write{
				{[]position.Position{at("a", 1, 1, `{"x": 1.0}`)}, Result{Inserted: 1}},
				{[]position.Position{at("a", 1, 1, `{"x": 1.00}`)}, Result{Unchanged: 1}},
			},
			[]string{`a 12:00:01 1.5 1 {"x": 1.0}`},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			url := servertest.Migrated(t)
			w := open(t, url, Options{}).NewWriter()
			require.Empty(t, servertest.Ask(t, url, allRows))
			for _, write := range c.writes {
				got, err := w.Write(t.Context(), Batch{Positions: write.batch})
				require.NoError(t, err)
				require.Equal(t, write.want, got)
			}
			require.Equal(t, c.rows, append([]string{}, servertest.Ask(t, url, allRows)...))
		})
	}
}

// Any redelivery, in any order, leaves the same rows.
func TestWriter_IsIdempotentInAnyOrder(t *testing.T) {
	url := servertest.Migrated(t)
	w := open(t, url, Options{}).NewWriter()
	var batch []position.Position
	for i := range 200 {
		batch = append(batch, at(fmt.Sprint("d", i%20), i%40, float32(i%20), fmt.Sprintf(`{"io": %d}`, i%20)))
	}
	_, err := w.Write(t.Context(), Batch{Positions: batch})
	require.NoError(t, err)
	before := servertest.Ask(t, url, allRows)
	for range 3 {
		slices.Reverse(batch)
		for part := range slices.Chunk(batch, 70) {
			got, err := w.Write(t.Context(), Batch{Positions: part})
			require.NoError(t, err)
			require.Equal(t, Result{Unchanged: len(part)}, got)
		}
	}
	require.Equal(t, before, servertest.Ask(t, url, allRows))
}

// Fresh batches go by COPY. A key that is there fails it as a whole and leaves nothing behind;
// the same rows go by upsert, are counted once, and COPY comes back after a while.
func TestWriter_CopiesUntilAKeyIsThere(t *testing.T) {
	url := servertest.Migrated(t)
	var paths []string
	w := open(t, url, Options{Events: Events{Wrote: func(path string, rows int, _ time.Duration) {
		paths = append(paths, fmt.Sprint(path, " ", rows))
	}}}).NewWriter()
	second := 0
	write := func(redelivered bool, positions ...position.Position) Result {
		paths = nil
		r, err := w.Write(t.Context(), Batch{Positions: positions, Redelivered: redelivered})
		require.NoError(t, err)
		return r
	}
	fresh := func() position.Position { second++; return at(fmt.Sprint("d", second), 1, 1, `{}`) }

	require.Equal(t, Result{Inserted: 2}, write(false, fresh(), fresh()))
	require.Equal(t, []string{"insert 2"}, paths)
	require.Equal(t, Result{Inserted: 1}, write(true, fresh()))
	require.Equal(t, []string{"upsert 1"}, paths, "redelivered entries are not tried by COPY")
	require.Equal(t, Result{Inserted: 1, Merged: 1}, write(false, at("r", 1, 1, `{}`), at("r", 1, 1, `{"x": 1}`)))
	require.Equal(t, []string{"upsert 2"}, paths, "neither are repeats of a key")

	before := servertest.Ask(t, url, allRows)
	require.Equal(t, Result{Inserted: 1, Unchanged: 1}, write(false, fresh(), at("d1", 1, 1, `{}`)))
	require.Equal(t, []string{"upsert 2"}, paths)
	require.Len(t, servertest.Ask(t, url, allRows), len(before)+1)
	for range minUpserts {
		write(false, fresh())
		require.Equal(t, []string{"upsert 1"}, paths)
	}
	write(false, fresh())
	require.Equal(t, []string{"insert 1"}, paths)
}

// Byte for byte from the payload to SQL: digits through numeric, bytes through bytea.
func TestWriter_KeepsBigintsAndBuffersExactly(t *testing.T) {
	url := servertest.Migrated(t)
	var d position.Decoder
	p, err := d.Decode([]byte(`{"device_id":"a","timestamp":"2026-11-23T12:00:01Z","latitude":1.5,"longitude":0,"altitude":0,` +
		`"angle":0,"speed":0,"satellites":0,"priority":0,"attributes":{"78":{"__bigint":"18446744073709551615"},` +
		`"79":{"__bigint":"-9223372036854775809"},"80":9007199254740993,"81":0.1000000000000000055511151231257827,` +
		`"385":{"__buffer_b64":"AAECA/8="},"386":{"__buffer_b64":""}}}`))
	require.NoError(t, err)
	_, err = open(t, url, Options{}).NewWriter().Write(t.Context(), Batch{Positions: []position.Position{p}})
	require.NoError(t, err)
	require.Equal(t, []string{"18446744073709551615 -9223372036854775809 9007199254740993 0.1000000000000000055511151231257827 00010203ff <>"},
		servertest.Ask(t, url, `SELECT concat_ws(' ',
			(attributes->>'78')::numeric, (attributes->>'79')::numeric, (attributes->>'80')::numeric, (attributes->>'81')::numeric,
			encode((attributes->>'385')::bytea, 'hex'), '<' || encode((attributes->>'386')::bytea, 'hex') || '>') FROM positions`))
}

// writeAll writes the batch, and what is parked of it until nothing is.
func writeAll(t testing.TB, w *Writer, batch []position.Position) (total Result) {
	return writeParked(t, w, Batch{Positions: batch})
}

func writeParked(t testing.TB, w *Writer, b Batch) (total Result) {
	for ; len(b.Positions) > 0; b = pick(b, total.Parked) {
		got, err := w.Write(t.Context(), b)
		require.NoError(t, err)
		total.Inserted += got.Inserted
		total.Merged += got.Merged
		total.Unchanged += got.Unchanged
		total.Rejected = append(total.Rejected, got.Rejected...)
		total.Parked = got.Parked
	}
	return total
}

// pick is the batch of what was parked of a batch.
func pick(b Batch, parked []Parked) Batch {
	next := Batch{Parked: true}
	for _, p := range parked {
		next.Positions = append(next.Positions, b.Positions[p.Index])
	}
	return next
}

type corpusRecord struct {
	Entry struct {
		DeviceID string `json:"device_id"`
		Payload  string `json:"payload"`
	} `json:"entry"`
	Expect string `json:"expect_attributes"`
}

func corpus(t testing.TB) []corpusRecord {
	file, err := os.ReadFile("../position/testdata/teltonika.ndjson")
	require.NoError(t, err)
	var records []corpusRecord
	for line := range strings.Lines(string(file)) {
		var r corpusRecord
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		records = append(records, r)
	}
	return records
}

// 50 real records, six of which share a key.
func TestWriter_StoresTheCorpus(t *testing.T) {
	url := servertest.Migrated(t)
	var d position.Decoder
	var batch []position.Position
	type key struct {
		device string
		ts     time.Time
	}
	expect := map[key][]string{}
	for _, r := range corpus(t) {
		p, err := d.Decode([]byte(r.Entry.Payload))
		require.NoError(t, err)
		batch = append(batch, p)
		k := key{p.DeviceID, p.Timestamp}
		expect[k] = append(expect[k], r.Expect)
	}
	got := writeAll(t, open(t, url, Options{}).NewWriter(), batch)
	require.Equal(t, 50, got.Inserted+got.Merged+got.Unchanged)
	require.Equal(t, 45, got.Inserted)

	conn := servertest.Connect(t, url)
	for k, wanted := range expect {
		// The union in which the first record's values stand.
		union := wanted[0]
		for _, later := range wanted[1:] {
			require.NoError(t, conn.QueryRow(t.Context(), `SELECT ($2::jsonb || $1::jsonb)::text`, union, later).Scan(&union))
		}
		var equal bool
		require.NoError(t, conn.QueryRow(t.Context(),
			`SELECT attributes = $3::jsonb FROM positions WHERE device_id = $1 AND ts = $2`, k.device, k.ts, union).Scan(&equal))
		require.True(t, equal, "%v: attributes differ from %s", k, union)
	}
	require.Equal(t, []string{"45"}, servertest.Ask(t, url, `SELECT count(*)::text FROM positions`))
}
