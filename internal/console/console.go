// Package console serves a page that shows the pipeline at work: figures, charts, checks, dead letters, the search for a
// position and a map. It changes nothing unless it is told that it may.
package console

import (
	"context"
	"log/slog"
	"net"

	"processor/internal/observe"
)

// Config is what a console shows, to whom, and what it allows.
type Config struct {
	// Addr is the host:port to listen on; port 0 is any free one. Beyond loopback a Token is required.
	Addr string
	// RedisURL and DatabaseURL are those of the worker.
	RedisURL, DatabaseURL string
	Streams               []string
	Group                 string

	// Token is asked of every browser; empty on loopback only.
	Token string
	// Hosts are names, beside localhost and addresses, under which browsers may reach the console.
	Hosts []string

	// ShowPositions shows payloads and coordinates, which are hidden otherwise.
	ShowPositions bool
	// AllowChanges lets browsers replay dead letters.
	AllowChanges bool

	// Explain, where not nil, adds the fix to an error of Redis.
	Explain func(error) error
	Logger  *slog.Logger
}

// Server is a console that listens. Either Run or Close must be called.
type Server struct {
	config Config
	http   *observe.Server
}

// New listens. The servers need not answer: the page shows that they do not.
func New(c Config) (*Server, error) {
	server, err := observe.Listen(c.Addr, "--addr (CONSOLE_ADDR)")
	if err != nil {
		return nil, err
	}
	return &Server{config: c, http: server}, nil
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
func (s *Server) Close() error { return s.http.Close() }

// Run asks the servers and answers browsers until ctx ends, and returns nil then.
func (s *Server) Run(ctx context.Context) error {
	return s.http.Serve(ctx, nil, s.config.Logger)
}
