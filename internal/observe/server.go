package observe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The limits of the server. Its clients are a scraper, an orchestrator and a person with curl.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = time.Minute     // a CPU profile takes 30 s
	idleTimeout       = 2 * time.Minute // longer than a scrape interval, so that a scraper keeps its connection
	maxHeaderBytes    = 16 << 10
	stopTimeout       = 2 * time.Second
)

// Server is a bound HTTP server. Either Serve or Close must be called.
type Server struct {
	listener    net.Listener
	http        *http.Server
	connections *connections
}

// Listen binds addr (host:port; an empty host is every interface, port 0 any free one) before it returns,
// so that a taken port fails the start of the service. It holds at most 64 connections, and closes the one
// that is idle for longest where more come. setting names flag and variable for the error.
func Listen(addr, setting string) (*Server, error) {
	listener, err := net.Listen("tcp", addr)
	if err == nil {
		open := newConnections()
		return &Server{listener, &http.Server{
			ConnState:         open.track,
			ReadHeaderTimeout: readHeaderTimeout,
			ReadTimeout:       readTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
		}, open}, nil
	}
	hint := "choose a host:port of this machine"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = "another process holds it: stop that one, or choose another address"
	case errors.Is(err, syscall.EACCES):
		hint = "ports below 1024 need a privilege: choose a higher one"
	}
	// The cause alone: net.OpError repeats the address.
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	return nil, fmt.Errorf("listen on %s: %w; %s with %s", addr, err, hint, setting)
}

// Addr returns the bound address, with the real port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close releases the address of a server that is not serving.
func (s *Server) Close() error { return s.listener.Close() }

// Serve answers requests until ctx ends, then takes no more, gives those in progress 2 s to end, and
// returns nil once all connections are closed. Faults of single connections go to logger.
func (s *Server) Serve(ctx context.Context, handler http.Handler, logger *slog.Logger) error {
	s.http.Handler = handler
	s.http.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelWarn)
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()

	select {
	case err := <-served:
		return fmt.Errorf("serve http on %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := s.http.Shutdown(stopCtx); err != nil {
		_ = s.http.Close() // A client that reads too slowly must not hold up the stop.
	}
	<-served
	return nil
}

// Handler answers GET /metrics (from reg), /healthz (200 while the loops turn) and /readyz (200 while
// every dependency answers), with 503 and the same JSON otherwise.
func Handler(reg prometheus.Gatherer, h *Health) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(h.logger.Handler(), slog.LevelError),
		// One collector's failure must not hide all other metrics.
		ErrorHandling: promhttp.ContinueOnError,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		l := h.Liveness()
		writeJSON(w, l.Alive, l)
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		r := h.Readiness()
		writeJSON(w, r.Ready, r)
	})
	return mux
}

// ProfileHandler answers /debug/pprof/ (package net/http/pprof) but for cmdline, which would show the
// passwords in --redis-url and --database-url. It shows the inside of the process to every client that
// can reach it, so it needs a separate address.
func ProfileHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

func writeJSON(w http.ResponseWriter, ok bool, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	// What fails here is the client's connection, and it knows.
	_ = json.NewEncoder(JSONLines(w)).Encode(body)
}
