package observe

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const deadline = 10 * time.Second

func TestListen_TakenAddress(t *testing.T) {
	first, err := Listen("127.0.0.1:0", "--http-addr or HTTP_ADDR")
	require.NoError(t, err)
	_, err = Listen(first.Addr(), "--http-addr or HTTP_ADDR")
	require.EqualError(t, err, "listen on "+first.Addr()+": bind: address already in use; another process holds it: "+
		"stop that one, or choose another address with --http-addr or HTTP_ADDR")

	require.NoError(t, first.Close())
	again, err := Listen(first.Addr(), "--http-addr or HTTP_ADDR")
	require.NoError(t, err, "Close frees the address")
	require.NoError(t, again.Close())
}

func TestListen_BadAddress(t *testing.T) {
	_, err := Listen("8080", "--http-addr or HTTP_ADDR")
	require.EqualError(t, err, "listen on 8080: address 8080: missing port in address; "+
		"choose a host:port of this machine with --http-addr or HTTP_ADDR")
}

func TestServer_FinishesRequestsInProgress(t *testing.T) {
	server, err := Listen("127.0.0.1:0", "--http-addr or HTTP_ADDR")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	entered, leave := make(chan struct{}), make(chan struct{})
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(entered)
			<-leave
			_, _ = io.WriteString(w, r.URL.Path)
		}), slog.New(slog.DiscardHandler))
	}()

	type answer struct {
		status int
		body   string
		err    error
	}
	answered := make(chan answer, 1)
	client := &http.Client{Timeout: deadline, Transport: &http.Transport{DisableKeepAlives: true}}
	go func() {
		response, err := client.Get("http://" + server.Addr() + "/slow")
		if err != nil {
			answered <- answer{err: err}
			return
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		answered <- answer{response.StatusCode, string(body), err}
	}()

	<-entered
	cancel()
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", server.Addr())
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, deadline, time.Millisecond, "no new connections")
	close(leave)
	require.Equal(t, answer{200, "/slow", nil}, <-answered)
	require.NoError(t, <-served)
}

func TestServer_ClosedListenerIsAnError(t *testing.T) {
	server, err := Listen("127.0.0.1:0", "--http-addr or HTTP_ADDR")
	require.NoError(t, err)
	require.NoError(t, server.Close())
	err = server.Serve(t.Context(), http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	require.ErrorIs(t, err, net.ErrClosed)
	require.ErrorContains(t, err, "serve http on "+server.Addr())
}

func TestHandler_Answers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg, _ := newMetrics(t)
		redis := &dependency{}
		h := NewHealth([]Probe{{Name: "redis", Check: redis.Check}}, HealthOptions{})
		handler := Handler(reg, h)
		request := func(method, path string) (int, string) {
			recorder := httptest.NewRecorder()
			handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), method, path, nil))
			return recorder.Code, recorder.Body.String()
		}
		requireJSON := func(path string, status int, body string) {
			t.Helper()
			gotStatus, gotBody := request(http.MethodGet, path)
			require.Equal(t, status, gotStatus)
			require.JSONEq(t, body, gotBody)
		}

		requireJSON("/readyz", 503, `{"ready":false,"checks":{"redis":{"ok":false,"since":"2000-01-01T00:00:00Z","error":"not checked yet"}}}`)
		requireJSON("/healthz", 200, `{"alive":true,"loops":{}}`)

		pass(1500 * time.Millisecond)
		run(t, h)
		synctest.Wait()
		requireJSON("/readyz", 200, `{"ready":true,"checks":{"redis":{"ok":true,"since":"2000-01-01T00:00:01.5Z","error":""}}}`)

		redis.set(errors.New("connection refused"))
		loop := h.Loop("writer", time.Second)
		pass(2 * time.Second)
		loop.Beat()
		requireJSON("/readyz", 503, `{"ready":false,"checks":{"redis":{"ok":false,"since":"2000-01-01T00:00:03.5Z","error":"connection refused"}}}`)
		requireJSON("/healthz", 200, `{"alive":true,"loops":{"writer":{"ok":true,"silent_seconds":0,"max_silent_seconds":1}}}`)
		pass(2 * time.Second)
		requireJSON("/healthz", 503, `{"alive":false,"loops":{"writer":{"ok":false,"silent_seconds":2,"max_silent_seconds":1}}}`)

		status, body := request(http.MethodGet, "/metrics")
		require.Equal(t, 200, status)
		require.Contains(t, body, "\nprocessor_entries_in_flight 0\n")
		require.Contains(t, body, "\ngo_goroutines ")

		for _, path := range []string{"/", "/metrics/x", "/debug/pprof/", "/readyz/"} {
			status, _ = request(http.MethodGet, path)
			require.Equal(t, 404, status, path)
		}
		for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
			status, body = request(http.MethodPost, path)
			require.Equal(t, 405, status, path)
			require.NotContains(t, body, "processor_")
		}
	})
}

func TestServer_LogsFaultsThroughTheLogger(t *testing.T) {
	server, err := Listen("127.0.0.1:0", "--http-addr or HTTP_ADDR")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(ctx, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") }),
			NewLogger(&out, slog.LevelInfo))
	}()
	client := &http.Client{Timeout: deadline, Transport: &http.Transport{DisableKeepAlives: true}}
	_, err = client.Get("http://" + server.Addr()) //nolint:bodyclose // There is no response.
	require.ErrorIs(t, err, io.EOF)
	cancel()
	require.NoError(t, <-served)
	require.Contains(t, out.String(), `"level":"warn","msg":"http: panic serving`)
}

func TestProfileHandler_HidesTheCommandLine(t *testing.T) {
	for path, want := range map[string]int{
		"/debug/pprof/": 200, "/debug/pprof/heap": 200, "/debug/pprof/goroutine?debug=1": 200, "/debug/pprof/symbol": 200,
		"/debug/pprof/cmdline": 404, "/metrics": 404, "/": 404,
	} {
		recorder := httptest.NewRecorder()
		ProfileHandler().ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		require.Equal(t, want, recorder.Code, path)
	}
}

// serve serves an empty answer until the test ends, with limits of the test's own.
func serve(t *testing.T, limit func(*http.Server)) (address string) {
	server, err := Listen("127.0.0.1:0", "--http-addr or HTTP_ADDR")
	require.NoError(t, err)
	limit(server.http)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	empty := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	go func() { served <- server.Serve(ctx, empty, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-served)
	})
	return server.Addr()
}

func TestServer_RefusesAHeaderOverTheLimit(t *testing.T) {
	address := serve(t, func(*http.Server) {})
	client := &http.Client{Timeout: deadline, Transport: &http.Transport{DisableKeepAlives: true}}
	for size, want := range map[int]int{maxHeaderBytes / 2: 200, 2 * maxHeaderBytes: 431} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address, nil)
		require.NoError(t, err)
		request.Header.Set("X-Long", strings.Repeat("x", size))
		response, err := client.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, want, response.StatusCode, size)
	}
}

func TestServer_CutsOffASlowHeader(t *testing.T) {
	address := serve(t, func(s *http.Server) { s.ReadHeaderTimeout = 20 * time.Millisecond })
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(deadline)))
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: slow\r\n") // and no end
	require.NoError(t, err)
	answer, err := io.ReadAll(conn)
	require.NoError(t, err, "the server still waits")
	require.Empty(t, answer)
}

// Whatever connections others hold open, a probe is answered.
func TestServer_AnswersBesideManyConnections(t *testing.T) {
	for name, request := range map[string]string{
		"that say nothing":        "",
		"of half a request":       "GET / HTTP/1.1\r\n",
		"kept alive":              "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
		"kept alive and half one": "GET / HTTP/1.1\r\nHost: h\r\n\r\nG",
	} {
		t.Run(name, func(t *testing.T) {
			server, err := Listen("127.0.0.1:0", "--http-addr or HTTP_ADDR")
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			served := make(chan error, 1)
			empty := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
			go func() { served <- server.Serve(ctx, empty, slog.New(slog.DiscardHandler)) }()
			t.Cleanup(func() {
				cancel()
				require.NoError(t, <-served)
			})
			for range 300 {
				conn, err := net.Dial("tcp", server.Addr())
				require.NoError(t, err)
				t.Cleanup(func() { _ = conn.Close() })
				_, _ = io.WriteString(conn, request) // the server may have closed it
			}
			client := &http.Client{Timeout: deadline, Transport: &http.Transport{DisableKeepAlives: true}}
			for range 10 {
				response, err := client.Get("http://" + server.Addr())
				require.NoError(t, err)
				require.NoError(t, response.Body.Close())
				require.Equal(t, 200, response.StatusCode)
			}
			require.LessOrEqual(t, server.connections.count(), maxConnections)
		})
	}
}

func TestConnections_CloseTheOneThatIsIdleForLongest(t *testing.T) {
	c := newConnections()
	pipe := func(states ...http.ConnState) net.Conn {
		one, other := net.Pipe()
		t.Cleanup(func() { _ = one.Close(); _ = other.Close() })
		for _, state := range states {
			c.track(one, state)
		}
		return one
	}
	closed := func(conn net.Conn) bool {
		return errors.Is(conn.SetDeadline(time.Time{}), io.ErrClosedPipe)
	}
	active := pipe(http.StateNew, http.StateActive)
	fresh := pipe(http.StateNew)
	first := pipe(http.StateNew, http.StateActive, http.StateIdle)
	second := pipe(http.StateNew, http.StateActive, http.StateIdle)
	for c.count() < maxConnections {
		pipe(http.StateNew, http.StateActive)
	}
	for _, want := range []net.Conn{first, second, fresh, active} {
		require.False(t, closed(want))
		pipe(http.StateNew, http.StateActive)
		require.True(t, closed(want))
		c.track(want, http.StateActive) // too late
		c.track(want, http.StateClosed)
		require.Equal(t, maxConnections, c.count())
	}
}
