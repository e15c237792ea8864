package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// wire is a connection for reading entries, which is most of what this service gets from Redis. go-redis
// can neither read into memory that is used again nor skip the rest of a large entry (measured in
// docs/decisions.md). Everything else is go-redis's: address, TLS, credentials, and all other commands.
type wire struct {
	reader

	conn    *steadyConn
	session *redis.Client // which has dialled conn and keeps it, unused
	asking  bool          // every query begins with ASKING: the node is about to get the stream's slot
	out     []byte
}

// query is what is to be sent over a wire, and what bounds its reply.
type query struct {
	ack      ackQuery // goes before the commands; its reply is not among theirs
	commands [][]string
	// entries is how many entries the last command may reply with.
	entries int
	limits  limits
	// timeout is how long Redis may take to reply, and to go on with a reply.
	timeout time.Duration
	// progress, where set, is called while a long reply arrives.
	progress func()
}

const (
	// stopGrace is what a reply in progress has to arrive in when the context ends: entries on
	// their way are then processed rather than left pending.
	stopGrace = 250 * time.Millisecond
	// replyTime bounds a reply of several entries. One that takes longer is asked for in parts.
	replyTime = 10 * time.Second
)

// redirect is what a node of a cluster replies where another one has the stream. The zero value is none.
type redirect struct {
	addr   string
	asking bool // only for what begins with ASKING: the slot is being moved there
}

// redirectOf returns what an error says; none where it is no redirection, or does not name the other node.
func redirectOf(err error) redirect {
	var reply redis.Error // go-redis's own functions know only its own type
	if !errors.As(err, &reply) {
		return redirect{}
	}
	words := strings.Fields(reply.Error())
	if len(words) != 3 || (words[0] != "MOVED" && words[0] != "ASK") {
		return redirect{}
	}
	if host, _, err := net.SplitHostPort(words[2]); err != nil || host == "" {
		return redirect{}
	}
	return redirect{addr: words[2], asking: words[0] == "ASK"}
}

// dial connects to the server that has the stream, which is that of the redirection where there is one. go-redis does
// what a connection begins with (TLS, HELLO, AUTH, SELECT); from then on its only connection is read here.
func dial(ctx context.Context, client redis.UniversalClient, stream string, to redirect) (*wire, error) {
	opts, err := serverOptions(ctx, client, stream)
	if err != nil {
		return nil, fmt.Errorf("find the server of stream %s: %w", stream, err)
	}
	own := *opts
	if to.addr != "" {
		own.Addr = to.addr
	}
	var dialled net.Conn
	own.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := opts.Dialer(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		dialled = conn
		return conn, nil
	}
	own.PoolSize, own.MinIdleConns, own.MaxRetries = 1, 0, -1
	own.ReadBufferSize, own.WriteBufferSize = 1<<10, 1<<10
	session := redis.NewClient(&own)
	if err := session.Ping(ctx).Err(); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to Redis: %w", err), session.Close())
	}
	w := newWire(dialled)
	w.session, w.asking = session, to.asking
	return w, nil
}

// newWire reads from the connection.
func newWire(conn net.Conn) *wire {
	c := asSteady(conn)
	return &wire{conn: c, reader: reader{conn: c}}
}

// serverOptions are those of the server, of the master behind a Sentinel, or of the node of a
// cluster that has the stream's slot.
func serverOptions(ctx context.Context, client redis.UniversalClient, stream string) (*redis.Options, error) {
	switch client := client.(type) {
	case *redis.Client:
		return client.Options(), nil
	case *redis.ClusterClient:
		// The slot may have moved since the last connection: that is why there is a new one.
		client.ReloadState(ctx)
		node, err := client.MasterForKey(ctx, stream)
		if err != nil {
			return nil, err
		}
		return node.Options(), nil
	default:
		return nil, fmt.Errorf("client of type %T is not supported", client)
	}
}

func (w *wire) close() error { return w.session.Close() }

// do sends the commands in one go, behind XACK where that is asked for, and returns the reply to the last one, in
// RESP2 but for marks of large entries (see reader). It uses the memory of buf, from its beginning, as far as that
// suffices. The replies before it only count where one of them is an error: then that is the reply. When ctx ends the
// replies have stopGrace to arrive. After an error, which is a *BrokenReplyError where a reply has begun or the
// connection ended instead, the connection is of no use.
func (w *wire) do(ctx context.Context, q query, buf []byte) ([]byte, error) {
	var last time.Time
	if q.entries > 1 {
		last = time.Now().Add(q.timeout + replyTime)
	}
	if err := w.conn.begin(q.timeout, last); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { w.conn.finish(time.Now().Add(stopGrace)) })
	defer stop()
	w.out = w.out[:0]
	if w.asking && q.ack.acks != nil {
		w.out = appendCommand(w.out, asking)
	}
	w.out = q.ack.append(w.out)
	if w.asking {
		w.out = appendCommand(w.out, asking)
	}
	for _, command := range q.commands {
		w.out = appendCommand(w.out, command)
	}
	if _, err := w.conn.Write(w.out); err != nil {
		return nil, err
	}
	w.reader.begin(buf, q.limits, q.progress)
	reply, err := w.read(q)
	if all := w.end(); err == nil && !all {
		err = fmt.Errorf("%w: more has arrived than was asked for", errProtocol)
	}
	if err != nil && w.broken(err) {
		err = &BrokenReplyError{Entries: q.entries, Bytes: w.received, Err: err}
	}
	return reply, err
}

// read reads the replies to a query that was sent, and returns the last one. That to an XACK before it is none of
// them.
func (w *wire) read(q query) ([]byte, error) {
	if w.asking && q.ack.acks != nil {
		if err := w.asked(); err != nil {
			return nil, err
		}
	}
	if q.ack.acks != nil {
		reply, err := w.reply()
		if err != nil {
			w.received = 0
			return nil, err
		}
		w.received -= len(reply)
		q.ack.answered(reply)
	}
	if w.asking {
		if err := w.asked(); err != nil {
			return nil, err
		}
	}
	return w.last(len(q.commands))
}

// asking lets a node execute the next command, or transaction, on a slot that it is about to get.
var asking = []string{"ASKING"}

// asked reads the reply to ASKING.
func (w *wire) asked() error {
	reply, err := w.reply()
	if err != nil {
		w.received = 0
		return err
	}
	w.received -= len(reply)
	return (&respReader{buf: reply}).errorReply()
}

// last reads so many replies and returns the last one, or the first error among them.
func (w *wire) last(replies int) ([]byte, error) {
	var refused []byte
	for range replies - 1 {
		reply, err := w.reply()
		if err != nil {
			return nil, err
		}
		if reply[0] == '-' && refused == nil {
			refused = bytes.Clone(reply)
		}
	}
	reply, err := w.reply()
	if err == nil && refused != nil {
		return refused, nil
	}
	return reply, err
}

// broken reports whether a reply was on its way, or the connection ended instead of one: Redis closes it
// before the first byte where the reply goes beyond client-output-buffer-limit.
func (w *wire) broken(err error) bool {
	if errors.Is(err, errProtocol) {
		return false
	}
	return w.received > 0 || !errors.Is(err, os.ErrDeadlineExceeded)
}

func appendCommand(b []byte, command []string) []byte {
	b = appendHeader(b, '*', len(command))
	for _, arg := range command {
		b = appendArgument(b, arg)
	}
	return b
}

func appendArgument[T string | []byte](b []byte, arg T) []byte {
	b = appendHeader(b, '$', len(arg))
	b = append(b, arg...)
	return append(b, "\r\n"...)
}

// unexpected: a connection that ends in the middle of a reply ends too early.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
