package stream

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// replayed is a connection that answers every command with the same bytes.
type replayed struct {
	net.Conn
	reply string
	at    int
}

// Read implements net.Conn.
func (r *replayed) Read(p []byte) (int, error) {
	const piece = 128 << 10 // as much as a socket holds, more or less
	n := copy(p[:min(len(p), piece)], r.reply[r.at:])
	r.at += n
	return n, nil
}

// Write implements net.Conn.
func (r *replayed) Write(p []byte) (int, error) {
	r.at = 0
	return len(p), nil
}

// SetDeadline implements net.Conn.
func (r *replayed) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (r *replayed) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (r *replayed) SetWriteDeadline(time.Time) error { return nil }

// countedReply is what Redis replies to a counted read of so many entries with payloads of 400 bytes.
func countedReply(entries int) string {
	var b strings.Builder
	groups := "*1\r\n*12\r\n$4\r\nname\r\n$1\r\ng\r\n$9\r\nconsumers\r\n:1\r\n$7\r\npending\r\n:0\r\n" +
		"$17\r\nlast-delivered-id\r\n$3\r\n0-0\r\n$12\r\nentries-read\r\n:0\r\n$3\r\nlag\r\n:0\r\n"
	b.WriteString("+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n" + groups)
	fmt.Fprintf(&b, "*1\r\n*2\r\n$1\r\ns\r\n*%d\r\n", entries)
	for i := range entries {
		id := fmt.Sprintf("1749827887123-%d", i)
		fmt.Fprintf(&b, "*2\r\n$%d\r\n%s\r\n*8\r\n$2\r\nts\r\n$24\r\n2025-06-13T15:18:07.000Z\r\n$9\r\ndevice_id\r\n$15\r\n356307044000001\r\n"+
			"$5\r\ncodec\r\n$2\r\n8E\r\n$7\r\npayload\r\n$400\r\n%s\r\n", len(id), id, strings.Repeat("x", 400))
	}
	b.WriteString(groups)
	return b.String()
}

// One operation is one read of so many entries from memory, in one batch that is released.
func BenchmarkConsumer_ReadNew(b *testing.B) {
	for _, entries := range []int{1, 28, 1000} {
		b.Run(fmt.Sprint(entries), func(b *testing.B) {
			c := NewConsumer(nil, "s", "g", "me")
			c.wire = newWire(&replayed{reply: countedReply(entries)})
			b.ReportAllocs()
			for b.Loop() {
				var batch Batch
				n, err := c.ReadNew(b.Context(), &batch, entries, 0, nil)
				require.NoError(b, err)
				require.Equal(b, entries, n)
				batch.Release()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*entries), "ns/entry")
		})
	}
}
