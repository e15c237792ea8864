package stream

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// readReplies reads one reply after the other into one batch: of so many entries each, with payloads of size bytes.
func readReplies(t *testing.T, c *Consumer, size int, entries ...int) (b Batch) {
	t.Helper()
	for _, n := range entries {
		reply := strings.ReplaceAll(countedReply(n), "$400\r\n"+strings.Repeat("x", 400), fmt.Sprintf("$%d\r\n%s", size, strings.Repeat("y", size)))
		c.wire, c.mayCount = newWire(&replayed{reply: reply}), true
		came, err := c.ReadNew(t.Context(), &b, n, 0, nil)
		require.NoError(t, err)
		require.Equal(t, n, came)
	}
	return b
}

// requireReplies compares all entries of a batch with what readReplies has sent.
func requireReplies(t *testing.T, b Batch, size int, entries ...int) {
	t.Helper()
	at := 0
	for _, n := range entries {
		for i := range n {
			e := &b.Entries[at]
			require.Equal(t, fmt.Sprintf("1749827887123-%d", i), e.ID.String())
			require.Equal(t, strings.Repeat("y", size), string(e.Payload))
			require.Equal(t, []string{"ts=24", "device_id=15", "codec=2", fmt.Sprintf("payload=%d", size)}, fieldsOf(e))
			at++
		}
	}
	require.Len(t, b.Entries, at)
}

// sizes are the capacities of a batch's buffers.
func sizes(m *memory) (sizes []int) {
	for _, buf := range m.buffers {
		sizes = append(sizes, cap(buf))
	}
	return sizes
}

// The replies of a batch stay as they are while others are read into it, however large each is.
func TestBatch_HoldsAllOfItsReplies(t *testing.T) {
	c := NewConsumer(nil, "s", "g", "me")
	for _, replies := range [][]int{{1}, {1, 2, 3, 4}, {1, 1000, 1, 1}, {300, 300, 300}, {1000, 1000, 500}, {1, 30, 1, 200, 1, 400}} {
		for _, size := range []int{1, 400, 3000} {
			b := readReplies(t, c, size, replies...)
			requireReplies(t, b, size, replies...)
			b.Release()
			require.Nil(t, b.Entries)
		}
	}
}

// Many replies of a few entries cost what they hold, and not a buffer each.
func TestBatch_SmallRepliesShareABuffer(t *testing.T) {
	one := make([]int, 500)
	for i := range one {
		one[i] = 1
	}
	b := readReplies(t, NewConsumer(nil, "s", "g", "me"), 400, one...)
	requireReplies(t, b, 400, one...)
	total := 0
	for _, size := range sizes(b.memory) {
		total += size
	}
	require.Less(t, total, 4*b.Bytes)
}

// Memory is used again: what was read before is not there any more, nor is a slice of it kept.
func TestBatch_ReleasesItsMemory(t *testing.T) {
	c := NewConsumer(nil, "s", "g", "me")
	b := readReplies(t, c, 400, 1000, 300)
	m, before := b.memory, sizes(b.memory)
	require.Len(t, before, 2)
	b.Release()
	require.Equal(t, before, sizes(m))
	require.Zero(t, m.used)
	for _, e := range m.entries[:cap(m.entries)] {
		require.Equal(t, Entry{}, e)
	}
	for _, buf := range m.buffers {
		require.Empty(t, buf)
	}
}

// Memory that large entries have taken goes, at the latest with the second batch of small ones; and a few small ones
// keep what large batches of small entries use.
func TestMemory_KeepsWhatItNeeds(t *testing.T) {
	buf := func(size, used int) []byte { return make([]byte, used, size) }
	cases := map[string]struct {
		buffers [][]byte
		used    int
		want    []int
	}{
		"full ones":                        {[][]byte{buf(16<<20, 15<<20), buf(8<<20, 8<<20)}, 2, []int{16 << 20, 8 << 20}},
		"a large one, hardly used":         {[][]byte{buf(16<<20, 1<<20)}, 1, []int{}},
		"a large one behind a small one":   {[][]byte{buf(64<<10, 100), buf(16<<20, 400)}, 2, []int{64 << 10}},
		"a common one, hardly used":        {[][]byte{buf(1<<20, 10)}, 1, []int{1 << 20}},
		"one behind those used":            {[][]byte{buf(64<<10, 100), buf(64<<10, 0)}, 1, []int{64 << 10}},
		"nothing came":                     {[][]byte{buf(64<<10, 100)}, 0, []int{64 << 10}},
		"nothing came into a large buffer": {[][]byte{buf(16<<20, 100)}, 0, []int{}},
		"none":                             {nil, 0, []int{}},
	}
	for name, c := range cases {
		m := &memory{home: &memories{}, buffers: c.buffers, used: c.used, entries: make([]Entry, 1, 4)}
		m.release()
		require.Equal(t, c.want, append([]int{}, sizes(m)...), name)
		require.Equal(t, 4, cap(m.entries), name)
	}
	many := &memory{home: &memories{}, entries: make([]Entry, 100, 50_000)}
	many.release()
	require.Zero(t, cap(many.entries))
}

func TestMemory_OverwritesAllOfIt(t *testing.T) {
	buf := append(make([]byte, 0, 64), "payload"...)
	m := &memory{buffers: [][]byte{buf}, used: 1, entries: []Entry{{Payload: buf, fields: buf, count: 2}}}
	m.overwrite()
	require.Equal(t, bytes.Repeat([]byte{0xFF}, 64), buf[:64])
	require.Equal(t, []Entry{{ID: ID{math.MaxUint64, math.MaxUint64}}}, m.entries)
}

// An error of the server, a broken reply and bytes that nobody asked for leave the batch as it was.
func TestBatch_StaysAsItIsAfterAnError(t *testing.T) {
	c := NewConsumer(nil, "s", "g", "me")
	whole := countedReply(3)
	for name, reply := range map[string]string{
		"refused":         "-ERR no\r\n-ERR no\r\n-ERR no\r\n-ERR no\r\n-ERR no\r\n",
		"aborted":         "+OK\r\n+QUEUED\r\n-NOPERM no\r\n+QUEUED\r\n-EXECABORT no\r\n",
		"broken":          whole[:len(whole)/2],
		"one reply more":  whole + "+OK\r\n",
		"a part of one":   whole + "*",
		"another's reply": strings.Replace(whole, "*8\r\n", "*7\r\n", 1),
	} {
		b := readReplies(t, c, 400, 2, 20)
		before := sizes(b.memory)
		c.wire = newWire(&replayed{reply: reply})
		c.wire.session = redis.NewClient(&redis.Options{})
		_, err := c.ReadNew(t.Context(), &b, 3, 0, nil)
		require.Error(t, err, name)
		requireReplies(t, b, 400, 2, 20)
		require.Equal(t, before, sizes(b.memory), name)
		b.Release()
	}
}
