// Package console serves a page that shows the pipeline at work: figures, charts, checks, dead letters, the search for a
// position and a map. It changes nothing unless it is told that it may.
//
// Read console.go (start and stop), guard.go (who may ask), poll.go (the one look for all browsers), history.go (the charts), answer.go
// (limits of a request), then letters.go, search.go and places.go (what is asked on request). The page is in page/.
package console

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/redis/go-redis/v9"

	"processor/internal/observe"
	"processor/internal/stream"
)

// Config is what a console shows, to whom, and what it allows.
type Config struct {
	// Addr is the host:port to listen on; port 0 is any free one. Beyond loopback a Token is required.
	Addr string
	// RedisURL and DatabaseURL are those of the worker.
	RedisURL, DatabaseURL string
	Streams               []string
	Group                 string

	// Token is asked of every browser; it may be empty on loopback only.
	Token string
	// Hosts are names, beside localhost and IP addresses, under which browsers may reach the console.
	Hosts []string

	// ShowPositions shows payloads and coordinates, which are hidden otherwise.
	ShowPositions bool
	// AllowChanges lets browsers replay dead letters.
	AllowChanges bool

	// Explain, where not nil, adds the fix to an error of Redis.
	Explain func(error) error
	// Logger gets each change, and faults of connections; nil is no log.
	Logger *slog.Logger
}

// ErrNoToken refuses an address beyond loopback without a token.
var ErrNoToken = errors.New("without a token it listens on loopback only, such as 127.0.0.1:8090")

// Server is a console that listens. Either Run or Close must be called.
type Server struct {
	config Config
	http   *observe.Server
	client redis.UniversalClient
	guard  guard
	poll   poll
	places places
	slots  chan struct{} // one for each request that asks a server
}

// New listens. Redis and PostgreSQL need not answer: the page shows that they do not.
func New(c Config) (*Server, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	// Bound is what was checked: a name could be another address at the second look.
	address, err := net.ResolveTCPAddr("tcp", c.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", c.Addr, err)
	}
	if !address.IP.IsLoopback() && c.Token == "" {
		return nil, ErrNoToken
	}
	client, err := stream.Connect(c.RedisURL)
	if err != nil {
		return nil, err
	}
	server, err := observe.Listen(address.String(), "--addr (CONSOLE_ADDR)")
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return &Server{
		config: c, http: server, client: client,
		guard: guard{token: c.Token, hosts: c.Hosts, key: rand.Text(), change: rand.Text()},
		poll:  newPoll(c, client), places: newPlaces(), slots: make(chan struct{}, maxQuestions),
	}, nil
}

// Addr returns the bound host:port.
func (s *Server) Addr() string { return s.http.Addr() }

// URL returns the address of the page for a browser on this machine.
func (s *Server) URL() string {
	host, port, _ := net.SplitHostPort(s.Addr())
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port) + "/"
}

// Close stops listening, for a server that does not run.
func (s *Server) Close() error { return errors.Join(s.http.Close(), s.client.Close()) }

// Run asks the servers and answers browsers until ctx ends, and returns nil then.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var looking sync.WaitGroup
	looking.Go(func() { s.poll.look(ctx) })
	looking.Go(func() { s.poll.check(ctx) })
	err := s.http.Serve(ctx, s.handler(), s.config.Logger)
	cancel()
	looking.Wait()
	return errors.Join(err, s.client.Close())
}
