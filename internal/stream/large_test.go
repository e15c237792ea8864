package stream

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
)

// fieldsOf lists the kept fields of an entry as "name=size of the value".
func fieldsOf(e *Entry) []string {
	fields := []string{}
	for name, value := range e.Fields {
		if len(name) > 20 {
			name = fmt.Appendf(nil, "%c…%d", name[0], len(name))
		}
		fields = append(fields, fmt.Sprintf("%s=%d", name, len(value)))
	}
	return fields
}

// Entries beyond MaxEntry in every shape, between small ones: each keeps its id, its size and its beginning,
// the small ones are whole, and none is lost, whichever command reads them.
func TestConsumer_CutsLargeEntries(t *testing.T) {
	const limit = 64 << 10
	text := func(n int) string { return strings.Repeat("x", n) }
	many := func(n int, name, value string) (fields []any) {
		for i := range n {
			fields = append(fields, strings.ReplaceAll(name, "#", fmt.Sprint(i)), value)
		}
		return fields
	}
	contract := []any{"ts", "2026", "device_id", "d1", "codec", "8E"}
	shapes := []struct {
		name   string
		fields []any
		want   []string // the kept ones; nil leaves them open
	}{
		{"a large payload", append(contract, "payload", text(3<<20)), []string{"ts=4", "device_id=2", "codec=2", "payload=4096"}},
		{"a payload just beyond", append(contract, "payload", text(limit)), []string{"ts=4", "device_id=2", "codec=2", "payload=4096"}},
		{"a long device_id", []any{"device_id", text(limit), "payload", "{}"}, []string{"device_id=4096", "payload=2"}},
		{"a long field name", []any{text(limit), "v", "payload", "{}"}, []string{"x…256=1", "payload=2"}},
		{"two medium fields", []any{"a", text(40 << 10), "payload", text(40 << 10), "b", ""}, []string{"a=4096", "payload=4096", "b=0"}},
		{"many fields, the payload last", append(many(10_000, "f#", ""), "payload", "p", "payload", "last"), nil},
		{"many payloads", append(many(10_000, "payload", "p"), "payload", "last"), nil},
		{"many medium fields", append(many(100, "f#", text(1000)), contract...), nil},
		{"empty names and values", many(20_000, "", ""), nil},
	}
	f := newFixture(t)
	f.MaxEntry, f.MaxReply = limit, 1<<20
	_, err := f.EnsureGroup(t.Context())
	require.NoError(t, err)
	var added []ID
	var sizes []int
	small := func() {
		added = append(added, f.add(t, "payload", "small", "n", len(added)))
		sizes = append(sizes, 0)
	}
	small()
	for _, shape := range shapes {
		added = append(added, f.add(t, shape.fields...))
		size := 0
		for _, field := range shape.fields {
			n := len(fmt.Sprint(field))
			size += len(fmt.Sprintf("$%d\r\n\r\n", n)) + n
		}
		sizes = append(sizes, size)
		small()
	}
	check := func(t *testing.T, entries []Entry) {
		require.Len(t, entries, len(added))
		for i := range entries {
			e := &entries[i]
			require.Equal(t, added[i], e.ID)
			require.Equal(t, sizes[i], e.Oversize)
			if i%2 == 0 {
				require.Equal(t, "small", string(e.Payload))
				require.Equal(t, []string{"payload=5", fmt.Sprintf("n=%d", len(fmt.Sprint(i)))}, fieldsOf(e))
				continue
			}
			shape := shapes[i/2]
			require.Less(t, len(e.fields), 64<<10, shape.name)
			if shape.want != nil {
				require.Equal(t, shape.want, fieldsOf(e), shape.name)
			}
			if strings.HasPrefix(shape.name, "many ") && shape.name != "many medium fields" {
				require.Equal(t, "last", string(e.Payload), shape.name)
			}
		}
		last := fieldsOf(&entries[len(entries)-4])
		require.Equal(t, []string{"ts=4", "device_id=2", "codec=2"}, last[len(last)-3:], "many medium fields")
	}
	readers := map[string]func() ([]Entry, int, error){
		"XREADGROUP of new entries": func() ([]Entry, int, error) {
			b, err := f.readNew(t, 100)
			return b.Entries, b.Bytes, err
		},
		"XREADGROUP of pending entries": func() ([]Entry, int, error) {
			b, err := f.ReadPending(t.Context(), ID{}, 100)
			return b.Entries, b.Bytes, err
		},
		"XAUTOCLAIM": func() ([]Entry, int, error) {
			c, err := f.Claim(t.Context(), 0, Cursor{}, 100)
			return c.Entries, c.Bytes, err
		},
		"one by one": func() (entries []Entry, size int, err error) {
			for after := (ID{}); ; after = entries[len(entries)-1].ID {
				b, err := f.ReadPending(t.Context(), after, 1)
				if err != nil || len(b.Entries) == 0 {
					return entries, size, err
				}
				entries, size = append(entries, b.Entries...), size+b.Bytes
			}
		},
	}
	for _, name := range []string{"XREADGROUP of new entries", "XREADGROUP of pending entries", "XAUTOCLAIM", "one by one"} {
		t.Run(name, func(t *testing.T) {
			entries, size, err := readers[name]()
			require.NoError(t, err)
			check(t, entries)
			require.Greater(t, size, 3<<20, "what Redis had to send")
		})
	}
	t.Run("XRANGE", func(t *testing.T) { // its limit is a larger one
		large := f.add(t, "payload", text(maxLetter))
		entries, err := readRange(t.Context(), f.client, "xrange", f.stream, "-", "+", 100)
		require.NoError(t, err)
		require.Len(t, entries, len(added)+1)
		require.Equal(t, large, entries[len(added)].ID)
		require.Equal(t, 4096, len(entries[len(added)].Payload))
		require.Greater(t, entries[len(added)].Oversize, maxLetter)
	})
	t.Run("dead letter", func(t *testing.T) {
		b, err := f.ReadPending(t.Context(), added[0], 1)
		require.NoError(t, err)
		require.Equal(t, []bool{true}, f.deadLetter(t, []Letter{{Entry: &b.Entries[0], Reason: "too_large", Detail: "d"}}))
		letters, err := DeadLetters(t.Context(), f.client, f.stream, ID{}, ID{1 << 62, 0})
		require.NoError(t, err)
		require.Len(t, letters, 1)
		require.Equal(t, "too_large", letters[0].Reason)
		require.Equal(t, added[1].String(), letters[0].SourceID)
		require.Equal(t, text(4096), string(letters[0].Value("payload")))
	})
}

// A dead letter that somebody else made large is still one: its last fields tell its reason.
func TestDeadLetters_ReadsALargeOne(t *testing.T) {
	f := newFixture(t)
	fields := []any{"payload", strings.Repeat("x", maxLetter)}
	for i := range 1000 {
		fields = append(fields, fmt.Sprint("f", i), strings.Repeat("y", 100))
	}
	fields = append(fields, FieldReason, "not_json", FieldDetail, strings.Repeat("z", 5000), FieldSourceID, "1-2", FieldTime, "2026-01-01T00:00:00Z", FieldSQLState, "22000")
	require.NoError(t, f.client.XAdd(t.Context(), &redis.XAddArgs{Stream: DeadKey(f.stream), Values: fields}).Err())
	letters, err := NewestDeadLetters(t.Context(), f.client, f.stream, 10)
	require.NoError(t, err)
	require.Len(t, letters, 1)
	l := letters[0]
	require.Equal(t, []string{"not_json", "1-2", "22000"}, []string{l.Reason, l.SourceID, l.SQLState})
	require.Len(t, l.Detail, 4096)
	require.Len(t, l.Value("payload"), 4096)
}

// pipe is a connection to a peer that the test plays.
func pipe(t *testing.T) (near *steadyConn, far net.Conn) {
	a, b := net.Pipe()
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return asSteady(a), b
}

// A reply that comes slower than the timeout as a whole, but never stands still for so long, arrives.
func TestSteadyConn_WaitsWhileBytesArrive(t *testing.T) {
	near, far := pipe(t)
	const idle, pieces, size = 150 * time.Millisecond, 12, 64 << 10
	reply := "$" + fmt.Sprint(pieces*size) + "\r\n" + strings.Repeat("x", pieces*size) + "\r\n"
	go func() {
		tick := time.NewTicker(idle / 3)
		defer tick.Stop()
		for rest := []byte(reply); len(rest) > 0; <-tick.C {
			n, err := far.Write(rest[:min(size, len(rest))])
			if err != nil {
				return
			}
			rest = rest[n:]
		}
	}()
	w := reader{conn: near}
	require.NoError(t, near.begin(idle, time.Time{}))
	began := time.Now()
	got, err := w.reply()
	require.NoError(t, err)
	require.True(t, bytes.Equal([]byte(reply), got))
	require.Greater(t, time.Since(began), idle)
}

func TestPace_BoundsATransfer(t *testing.T) {
	start := time.Now()
	second := func(n float64) time.Time { return start.Add(time.Duration(n * float64(time.Second))) }
	cases := map[string]struct {
		at    float64 // seconds since the deadline was set
		bytes int
		last  float64
		want  float64
	}{
		"at once":                         {0, 1, 0, 3},
		"a byte a second":                 {3, 3, 0, 3},
		"just the floor rate":             {10, 10 * floorRate, 0, 13},
		"faster":                          {1, 10 * floorRate, 0, 4},
		"half the floor rate":             {4, 2 * floorRate, 0, 5},
		"faster, beyond the last moment":  {9, 1 << 30, 10, 10},
		"faster, before the last moment":  {2, 1 << 30, 10, 5},
		"slower, and the last moment too": {3, 3, 10, 3},
	}
	for name, c := range cases {
		p := pace{idle: 3 * time.Second, began: start, bytes: c.bytes}
		if c.last > 0 {
			p.last = second(c.last)
		}
		require.WithinDuration(t, second(c.want), p.deadline(second(c.at)), time.Millisecond, name)
	}
}

// Redis closes a connection whose reply goes beyond client-output-buffer-limit, before the first byte. What the
// reply held is pending, and comes in smaller replies; the tools ask for these by themselves.
func TestConsumer_TellsABrokenReply(t *testing.T) {
	server := servertest.NewRedis(t, sandbox.RedisOptions{ExtraArgs: []string{"--client-output-buffer-limit", "normal", "400kb", "400kb", "0"}})
	client, err := Connect(server.URL())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	f := fixture{client, NewConsumer(client, "s", "g", "me")}
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	_, err = f.EnsureGroup(t.Context())
	require.NoError(t, err)
	var added []ID
	for range 20 {
		added = append(added, f.add(t, "payload", strings.Repeat("x", 50<<10)))
	}
	reads := map[string]func() error{
		"new":     func() error { _, err := f.readNew(t, 20); return err },
		"pending": func() error { _, err := f.ReadPending(t.Context(), ID{}, 20); return err },
		"claim":   func() error { _, err := f.Claim(t.Context(), 0, Cursor{}, 20); return err },
	}
	for _, name := range []string{"new", "pending", "claim"} {
		var broken *BrokenReplyError
		require.ErrorAs(t, reads[name](), &broken, name)
		require.Equal(t, 20, broken.Entries, name)
		require.False(t, broken.TooLarge(), name)
		require.Len(t, f.pending(t), 20, name)
	}
	b, err := f.ReadPending(t.Context(), ID{}, 4)
	require.NoError(t, err)
	require.Equal(t, added[:4], ids(b))
	entries, err := readRange(t.Context(), client, "xrange", "s", "-", "+", 100)
	require.NoError(t, err)
	require.Equal(t, added, ids(Batch{Entries: entries}))
	entries, err = readRange(t.Context(), client, "xrevrange", "s", "+", "-", 7)
	require.NoError(t, err)
	require.Len(t, entries, 7)
	require.Equal(t, added[13], entries[6].ID)
}
