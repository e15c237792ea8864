package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// floorRate is the lowest transfer rate in bytes per second at which a deadline is still extended.
	floorRate = 32 << 10
	// writePiece is the number of bytes after whose transfer the deadline of a write is extended.
	writePiece = 64 << 10
)

// dialFunc opens a connection, as redis.Options.Dialer does.
type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// newDialer returns go-redis's dialer (keepalive settings included) with connections whose deadlines
// follow progress. Without a TLS config the connection is plain.
func newDialer(timeout time.Duration, config *tls.Config) dialFunc {
	const defaultTimeout = 5 * time.Second // go-redis's
	if timeout == 0 {
		timeout = defaultTimeout
	}
	dialer := &net.Dialer{Timeout: timeout, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 30 * time.Second, Interval: 5 * time.Second, Count: 3,
	}}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if config == nil {
			return steady(dialer.DialContext(ctx, network, addr))
		}
		ctx, cancel := context.WithTimeout(ctx, timeout) // the handshake too
		defer cancel()
		return steady((&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(ctx, network, addr))
	}
}

// steadyConn extends its deadlines while bytes are transferred: a deadline set to d from now ends a
// transfer that stands still for d, or is slower than floorRate. So a large reply or command on a slow
// link is completed, and a peer that hangs is noticed as soon as before.
type steadyConn struct {
	net.Conn
	reads, writes pace
}

// plainConn is a steadyConn over a socket. go-redis checks idle connections by their descriptor.
type plainConn struct {
	*steadyConn
	syscall.Conn
}

// sendBuffer bounds what the kernel holds of a command. What is in there is on its way for longer than the deadline
// of the reply, which begins when the command is written, where a link is slow and the buffer several MB.
const sendBuffer = 64 << 10

func steady(conn net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		if err := tcp.SetWriteBuffer(sendBuffer); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	c := &steadyConn{Conn: conn}
	if socket, ok := conn.(syscall.Conn); ok {
		return plainConn{c, socket}, nil
	}
	return c, nil
}

// asSteady returns the steadyConn of a connection, which it wraps where it is none.
func asSteady(conn net.Conn) *steadyConn {
	switch c := conn.(type) {
	case plainConn:
		return c.steadyConn
	case *steadyConn:
		return c
	}
	return &steadyConn{Conn: conn}
}

// Read implements net.Conn.
func (c *steadyConn) Read(p []byte) (int, error) {
	c.reads.extend(c.Conn.SetReadDeadline)
	n, err := c.Conn.Read(p)
	c.reads.add(n)
	return n, err
}

// Write implements net.Conn.
func (c *steadyConn) Write(p []byte) (written int, err error) {
	for {
		c.writes.extend(c.Conn.SetWriteDeadline)
		n, err := c.Conn.Write(p[written:min(written+writePiece, len(p))])
		c.writes.add(n)
		written += n
		if err != nil || written >= len(p) {
			return written, err
		}
	}
}

// SetDeadline implements net.Conn.
func (c *steadyConn) SetDeadline(t time.Time) error {
	c.reads.reset(t, time.Time{})
	c.writes.reset(t, time.Time{})
	return c.Conn.SetDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *steadyConn) SetReadDeadline(t time.Time) error {
	c.reads.reset(t, time.Time{})
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (c *steadyConn) SetWriteDeadline(t time.Time) error {
	c.writes.reset(t, time.Time{})
	return c.Conn.SetWriteDeadline(t)
}

// begin sets the deadline of a command and its reply, which is never extended beyond last; a zero last
// is no bound.
func (c *steadyConn) begin(idle time.Duration, last time.Time) error {
	t := time.Now().Add(idle)
	c.reads.reset(t, last)
	c.writes.reset(t, last)
	return c.Conn.SetDeadline(t)
}

// finish sets a deadline that is not extended. It may be called during a Read or Write.
func (c *steadyConn) finish(t time.Time) {
	c.reads.stop()
	c.writes.stop()
	_ = c.Conn.SetDeadline(t) // it fails on a closed connection
}

// pace is the deadline of one direction.
type pace struct {
	mu    sync.Mutex
	idle  time.Duration // 0 is no deadline to extend
	began time.Time
	last  time.Time
	bytes int // transferred since the deadline was set
}

func (p *pace) reset(deadline, last time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle, p.last, p.bytes = 0, last, 0
	if !deadline.IsZero() {
		p.began = time.Now()
		p.idle = max(deadline.Sub(p.began), 0)
	}
}

func (p *pace) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = 0
}

func (p *pace) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += n
}

// extend sets the deadline anew once something has been transferred since it was set.
func (p *pace) extend(set func(time.Time) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.idle == 0 || p.bytes == 0 {
		return
	}
	_ = set(p.deadline(time.Now())) // it fails on a closed connection, as the transfer then does
}

// deadline returns when the transfer ends if nothing more is transferred from now on.
func (p *pace) deadline(now time.Time) time.Time {
	t := now.Add(p.idle)
	allowed := time.Duration(float64(p.bytes) / floorRate * float64(time.Second))
	if slowest := p.began.Add(p.idle + allowed); slowest.Before(t) {
		t = slowest
	}
	if !p.last.IsZero() && p.last.Before(t) {
		t = p.last
	}
	return t
}
