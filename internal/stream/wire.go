package stream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// wire is a connection of its own for reading entries, which is most of what this service
// gets from Redis. go-redis either builds a map and eight strings for every entry, or grows a
// fresh buffer for every reply: measured, the latter alone was a third of the worker's CPU. Here
// the reply goes into a buffer that is used again. Address, TLS and credentials are go-redis's,
// and so is everything else that is said to Redis.
type wire struct {
	conn     net.Conn
	r        *bufio.Reader
	out      []byte
	maxReply int // bytes of the next reply; 0 is no bound
}

// errTooLarge: the reply goes beyond maxReply.
var errTooLarge = errors.New("reply is too large")

// stopGrace is what a reply in progress has to arrive in when the context ends: entries on
// their way are then processed rather than left pending.
const stopGrace = 250 * time.Millisecond

// dial connects to the server that has the stream.
func (c *Consumer) dial(ctx context.Context) (*wire, error) {
	opts, err := c.serverOptions(ctx)
	if err != nil {
		return nil, fmt.Errorf("find the server of stream %s: %w", c.stream, err)
	}
	conn, err := opts.Dialer(ctx, opts.Network, opts.Addr)
	if err != nil {
		return nil, fmt.Errorf("connect to Redis: %w", err)
	}
	w := &wire{conn: conn, r: bufio.NewReaderSize(conn, socketBuffer)}
	if err := w.hello(ctx, opts); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return w, nil
}

// serverOptions are those of the server, of the master behind a Sentinel, or of the node of a
// cluster that has the stream's slot.
func (c *Consumer) serverOptions(ctx context.Context) (*redis.Options, error) {
	switch client := c.client.(type) {
	case *redis.Client:
		return client.Options(), nil
	case *redis.ClusterClient:
		// The slot may have moved since the last connection: that is why there is a new one.
		client.ReloadState(ctx)
		node, err := client.MasterForKey(ctx, c.stream)
		if err != nil {
			return nil, err
		}
		return node.Options(), nil
	default:
		return nil, fmt.Errorf("client of type %T is not supported", client)
	}
}

func (w *wire) hello(ctx context.Context, opts *redis.Options) error {
	var commands [][]string
	switch {
	case opts.Username != "":
		commands = append(commands, []string{"AUTH", opts.Username, opts.Password})
	case opts.Password != "":
		commands = append(commands, []string{"AUTH", opts.Password})
	}
	if opts.DB > 0 {
		commands = append(commands, []string{"SELECT", strconv.Itoa(opts.DB)})
	}
	for _, command := range commands {
		reply, err := w.do(ctx, opts.ReadTimeout, nil, command)
		if err == nil && reply[0] == '-' {
			err = asReplyError(reply)
		}
		if err != nil {
			return fmt.Errorf("%s to Redis: %w", command[0], err)
		}
	}
	return nil
}

// do sends commands in one go and appends the reply to the last one, in RESP2 and as it is, to
// buf. Those before it only count where one of them is an error: then that is the reply. When ctx
// ends the replies have stopGrace to arrive. After an error the connection is of no use.
func (w *wire) do(ctx context.Context, timeout time.Duration, buf []byte, commands ...[]string) ([]byte, error) {
	if err := w.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return buf, err
	}
	stop := context.AfterFunc(ctx, func() { _ = w.conn.SetDeadline(time.Now().Add(stopGrace)) })
	defer stop()
	w.out = w.out[:0]
	for _, command := range commands {
		w.out = appendCommand(w.out, command)
	}
	if _, err := w.conn.Write(w.out); err != nil {
		return buf, err
	}
	var refused []byte
	for range len(commands) - 1 {
		reply, err := w.reply(buf)
		if err != nil {
			return reply, err
		}
		if reply[len(buf)] == '-' && refused == nil {
			refused = bytes.Clone(reply[len(buf):])
		}
		buf = reply[:len(buf)]
	}
	reply, err := w.reply(buf)
	if err == nil && refused != nil {
		reply = append(reply[:len(buf)], refused...)
	}
	return reply, err
}

func appendCommand(b []byte, command []string) []byte {
	b = append(b, '*')
	b = strconv.AppendInt(b, int64(len(command)), 10)
	for _, arg := range command {
		b = append(b, "\r\n$"...)
		b = strconv.AppendInt(b, int64(len(arg)), 10)
		b = append(b, "\r\n"...)
		b = append(b, arg...)
	}
	return append(b, "\r\n"...)
}

// reply appends one whole reply, however deep its arrays.
func (w *wire) reply(buf []byte) ([]byte, error) {
	for elements := 1; elements > 0; elements-- {
		line, err := w.r.ReadSlice('\n')
		if err != nil {
			return buf, unexpected(err)
		}
		if buf, err = w.grow(buf, len(line)); err != nil {
			return buf, err
		}
		buf = append(buf, line...)
		switch line[0] {
		case '+', '-', ':':
			if !bytes.HasSuffix(line, []byte("\r\n")) {
				return buf, errProtocol
			}
		case '*', '$':
			n, err := length(line)
			if err != nil {
				return buf, err
			}
			if n < 0 {
				continue
			}
			if line[0] == '*' {
				elements += n
				continue
			}
			if buf, err = w.bytes(buf, n+len("\r\n")); err != nil {
				return buf, err
			}
		default:
			return buf, errProtocol
		}
	}
	return buf, nil
}

// maxLength is Redis's default proto-max-bulk-len, the most that a string can be.
const maxLength = 512 << 20

// length reads <kind><length>\r\n; -1 stands for null.
func length(line []byte) (int, error) {
	if len(line) < len("*0\r\n") || !bytes.HasSuffix(line, []byte("\r\n")) {
		return 0, errProtocol
	}
	n, err := strconv.Atoi(string(line[1 : len(line)-2]))
	if err != nil || n < -1 || n > maxLength {
		return 0, errProtocol
	}
	return n, nil
}

// bytes appends the next n bytes. Memory grows with what has arrived, not with what was announced.
func (w *wire) bytes(buf []byte, n int) ([]byte, error) {
	for n > 0 {
		var err error
		if buf, err = w.grow(buf, n); err != nil {
			return buf, err
		}
		start := len(buf)
		buf = buf[:min(start+n, cap(buf))]
		read, err := io.ReadFull(w.r, buf[start:])
		if err != nil {
			return buf[:start+read], unexpected(err)
		}
		n -= read
	}
	return buf, nil
}

// atOnce is how much is made room for because it was announced.
const atOnce = 1 << 20

// grow makes room for the next n bytes of a reply, or for some of them where there are many.
func (w *wire) grow(buf []byte, n int) ([]byte, error) {
	if w.maxReply > 0 && n > w.maxReply-len(buf) {
		return buf, errTooLarge
	}
	if cap(buf)-len(buf) >= min(n, atOnce) {
		return buf, nil
	}
	size := max(cap(buf)+growth(cap(buf)), len(buf)+min(n, atOnce))
	if w.maxReply > 0 {
		size = min(size, w.maxReply)
	}
	grown := make([]byte, len(buf), size)
	copy(grown, buf)
	return grown, nil
}

// growth is by how much a full buffer grows. Buffers are used again and common replies are of much
// the same size, so small steps cost little and keep the memory near what is needed; with rare
// large ones they would leave several times the reply as garbage.
func growth(full int) int {
	const least, common = 64 << 10, 1 << 20
	if full < common {
		return max(full/4, least)
	}
	return full
}

// unexpected: a connection that ends in the middle of a reply ends too early.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
