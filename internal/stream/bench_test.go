package stream

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/redis/go-redis/v9"
)

// bounded is a buffer that is used again and takes no more than its capacity, into which go-redis may read
// without a buffer of its own.
type bounded struct{ bytes.Buffer }

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.Cap() {
		return 0, errors.New("full")
	}
	return b.Buffer.Write(p)
}

// One operation is one entry of 400 bytes, of a thousand in a reply of a real Redis.
func BenchmarkReply(b *testing.B) {
	const entries = 1000
	f := newFixture(b)
	for range entries {
		f.add(b, "ts", "2025-06-13T15:18:07.000Z", "device_id", "356307044000001", "codec", "8E", "payload", strings.Repeat("x", 400))
	}
	run := func(name string, read func() []byte) {
		b.Run(name, func(b *testing.B) {
			found, err := parseRange(read())
			require.NoError(b, err)
			require.Len(b, found, entries)
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if n%entries == 0 {
					read()
				}
			}
		})
	}
	buf := make([]byte, 0, 2<<20)
	w, err := dial(b.Context(), f.client, f.stream, redirect{})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, w.close()) })
	for name, entry := range map[string]int{"wire": 0, "wire with MaxEntry": 1 << 20} {
		q := query{commands: [][]string{{"XRANGE", f.stream, "-", "+"}}, entries: entries, timeout: replyTimeout,
			limits: limits{reply: 2 << 20, entry: entry, depth: rangeDepth}}
		run(name, func() []byte {
			reply, err := w.do(b.Context(), q, buf[:0])
			require.NoError(b, err)
			return reply
		})
	}
	var into bounded
	into.Grow(2 << 20)
	run("RawWriteToCmd", func() []byte {
		into.Reset()
		cmd := redis.NewRawWriteToCmd(b.Context(), &into, "XRANGE", f.stream, "-", "+")
		cmd.SetFirstKeyPos(1)
		require.NoError(b, f.client.Process(b.Context(), cmd))
		return into.Bytes()
	})
	run("RawCmd", func() []byte {
		cmd := redis.NewRawCmd(b.Context(), "XRANGE", f.stream, "-", "+")
		cmd.SetFirstKeyPos(1)
		require.NoError(b, f.client.Process(b.Context(), cmd))
		return cmd.Val()
	})
}

// One operation is one entry, of a thousand in a reply that is in memory.
func BenchmarkReader(b *testing.B) {
	const entries = 1000
	var reply strings.Builder
	reply.WriteString("*1\r\n*2\r\n$1\r\ns\r\n*1000\r\n")
	for range entries {
		reply.WriteString("*2\r\n$15\r\n1749827887123-0\r\n*8\r\n$2\r\nts\r\n$24\r\n2025-06-13T15:18:07.000Z\r\n$9\r\ndevice_id\r\n$15\r\n356307044000001\r\n$5\r\ncodec\r\n$2\r\n8E\r\n$7\r\npayload\r\n$400\r\n" + strings.Repeat("x", 400) + "\r\n")
	}
	text := strings.NewReader(reply.String())
	w := reader{conn: text}
	buf := make([]byte, 0, 2<<20)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%entries != 0 {
			continue
		}
		text.Reset(reply.String())
		w.begin(buf, limits{reply: 2 << 20, entry: 1 << 20, depth: readDepth}, nil)
		if _, err := w.reply(); err != nil {
			b.Fatal(err)
		}
	}
}
