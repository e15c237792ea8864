package faultkit

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Proxy passes TCP connections on to one server, and does to them what networks and dying
// processes do. Its methods are safe for concurrent use.
type Proxy struct {
	t        testing.TB
	protocol Protocol
	target   string
	addr     string

	mu       sync.Mutex
	listener net.Listener // nil while connections are refused
	links    map[*link]struct{}
	silent   bool
	rate     int // bytes a second of each connection in each direction; 0 is no limit
	trap     *trap
	running  sync.WaitGroup
	ended    chan struct{} // closed with the test
}

// Trap is what is to happen once, at the next frame that At picks on any connection.
type Trap struct {
	At Moment
	// Answered: the server gets the frame and does what it asks, and its answer is lost. Else the
	// frame itself is lost.
	Answered bool
	// Hold leaves the client's connection open, without an answer, so that its process can be
	// killed at this very moment. Else both connections are cut.
	Hold bool
	// Vanish is Hold, and the server too sees its connection open, whatever becomes of the
	// client: as when the client's host loses its power. Not with Answered.
	Vanish bool
	// After, where not 0, is how many bytes of the server's answers pass from then on; then both
	// connections are cut, in the middle of an answer.
	After int
}

type trap struct {
	Trap
	sprung chan struct{}
}

// NewProxy starts a proxy to target, the host:port of a server, and ends it with the test.
func NewProxy(t testing.TB, protocol Protocol, target string) *Proxy {
	t.Helper()
	p := &Proxy{t: t, protocol: protocol, target: target, addr: "127.0.0.1:0", links: map[*link]struct{}{}, ended: make(chan struct{})}
	p.Pass()
	t.Cleanup(func() {
		close(p.ended)
		p.Refuse()
		p.running.Wait()
	})
	return p
}

// ProxyFor starts a proxy to the server that a URL names, and returns the URL that leads through
// it, without TLS.
func ProxyFor(t testing.TB, rawURL string) (*Proxy, string) {
	t.Helper()
	u, err := url.Parse(rawURL)
	require.NoError(t, err)
	var p *Proxy
	if u.Scheme == "redis" {
		p = NewProxy(t, Redis(), u.Host)
	} else {
		p = NewProxy(t, PostgreSQL(), u.Host)
		query := u.Query()
		query.Set("sslmode", "disable")
		u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20") // PostgreSQL's drivers read no +
	}
	u.Host = p.addr
	return p, u.String()
}

// Addr is the host:port that the proxy listens on. It stays the same.
func (p *Proxy) Addr() string { return p.addr }

// Pass takes connections and passes everything on, as in the beginning. Connections of which
// something was swallowed are cut.
func (p *Proxy) Pass() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent {
		p.silent = false
		p.cutAll()
	}
	if p.listener != nil {
		return
	}
	listener, err := net.Listen("tcp", p.addr)
	require.NoError(p.t, err)
	p.listener, p.addr = listener, listener.Addr().String()
	p.running.Go(func() { p.accept(listener) })
}

// Cut ends all connections. New ones are taken.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutAll()
}

// Refuse ends all connections and refuses new ones, until Pass.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	p.cutAll()
}

// Swallow passes nothing on any more, in either direction, and takes new connections: to the
// client the server hangs. Until Pass.
func (p *Proxy) Swallow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = true
}

// Throttle limits each connection to so many bytes a second in each direction; 0 is no limit.
func (p *Proxy) Throttle(rate int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate = rate
}

// send writes b at the rate of the proxy.
func (p *Proxy) send(to net.Conn, b []byte) error {
	const piece = 4 << 10
	began, sent := time.Now(), 0
	for len(b) > 0 {
		p.mu.Lock()
		rate := p.rate
		p.mu.Unlock()
		n := len(b)
		if rate > 0 {
			n = min(n, piece)
		}
		if _, err := to.Write(b[:n]); err != nil {
			return err
		}
		b, sent = b[n:], sent+n
		if rate == 0 {
			continue
		}
		select {
		case <-time.After(time.Until(began.Add(time.Duration(sent) * time.Second / time.Duration(rate)))):
		case <-p.ended:
			return net.ErrClosed
		}
	}
	return nil
}

// Set lays a trap. The channel is closed when it has sprung; for Trap.Answered that is when the
// server has answered.
func (p *Proxy) Set(want Trap) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trap = &trap{Trap: want, sprung: make(chan struct{})}
	return p.trap.sprung
}

func (p *Proxy) cutAll() {
	for l := range p.links {
		l.cut()
	}
}

func (p *Proxy) accept(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return // Refuse has closed it
		}
		if tcp, is := client.(*net.TCPConn); is {
			_ = tcp.SetReadBuffer(64 << 10) // a slow link holds little; without it Throttle is merely less exact
		}
		p.running.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	server, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil {
		client.Close()
		return
	}
	l := &link{proxy: p, client: client, server: server}
	p.mu.Lock()
	if p.listener == nil { // Refuse came in between
		l.cut()
	}
	p.links[l] = struct{}{}
	p.mu.Unlock()

	var down sync.WaitGroup
	down.Go(l.down)
	l.up()
	if l.vanished {
		<-p.ended
	}
	l.cut()
	down.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
}

// spring returns the trap where it is for this frame, and takes it away.
func (p *Proxy) spring(f Frame) (sprung *trap, silent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.silent || p.trap == nil || !p.trap.At(f) {
		return nil, p.silent
	}
	sprung, p.trap = p.trap, nil
	return sprung, false
}

func (p *Proxy) isSilent() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.silent
}

// link is one connection of a client and the one that it has to the server in turn.
type link struct {
	proxy          *Proxy
	client, server net.Conn
	vanished       bool // of up alone

	mu   sync.Mutex
	trap *trap // sprung here, the answer is awaited
	dead bool  // nothing passes any more, either way
}

// cut closes both ends. What the server has not read yet may be lost with them.
func (l *link) cut() {
	l.client.Close()
	l.server.Close()
}

func (l *link) state() (awaiting *trap, dead bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.trap, l.dead
}

func (l *link) set(awaiting *trap, dead bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trap, l.dead = awaiting, dead
}

// up passes the client's frames on.
func (l *link) up() {
	next := l.proxy.protocol.frames(bufio.NewReaderSize(l.client, 64<<10))
	for {
		f, err := next()
		if err != nil {
			return
		}
		if _, dead := l.state(); dead {
			continue
		}
		sprung, silent := l.proxy.spring(f)
		switch {
		case silent:
			continue
		case sprung == nil:
		case sprung.After > 0:
			l.set(sprung, false)
		case sprung.Answered:
			l.set(sprung, false)
			f.raw = append(f.raw, l.proxy.protocol.probe...)
		case sprung.Vanish:
			l.set(nil, true)
			l.vanished = true
			close(sprung.sprung)
			continue
		case sprung.Hold:
			// The server sees the connection end, as it would when the client's process dies.
			l.set(nil, true)
			l.server.Close()
			close(sprung.sprung)
			continue
		default:
			l.cut()
			close(sprung.sprung)
			return
		}
		if err := l.proxy.send(l.server, f.raw); err != nil {
			return
		}
	}
}

// down passes the server's bytes on.
func (l *link) down() {
	buf := make([]byte, 64<<10)
	var answer []byte
	passed := 0 // since a trap with After
	for {
		n, err := l.server.Read(buf)
		awaiting, dead := l.state()
		switch {
		case dead:
			return
		case awaiting != nil && awaiting.After > 0:
			if passed+n < awaiting.After {
				passed += n
				if err := l.proxy.send(l.client, buf[:n]); err != nil || n == 0 {
					l.cut()
					return
				}
				continue
			}
			_ = l.proxy.send(l.client, buf[:awaiting.After-passed])
			l.cut()
			close(awaiting.sprung)
			return
		case awaiting != nil:
			answer = append(answer, buf[:n]...)
			if !bytes.Contains(answer, l.proxy.protocol.answered) && err == nil {
				continue
			}
			l.set(nil, true)
			l.server.Close()
			if !awaiting.Hold {
				l.client.Close()
			}
			close(awaiting.sprung)
			return
		case l.proxy.isSilent():
		case n > 0:
			if err := l.proxy.send(l.client, buf[:n]); err != nil {
				l.cut()
				return
			}
		}
		if err != nil {
			if !errors.Is(err, net.ErrClosed) && !l.proxy.isSilent() {
				l.client.Close() // the server has ended it
			}
			return
		}
	}
}
