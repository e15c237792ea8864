package console

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"processor/internal/observe"
)

// page is what browsers load.
//
//go:embed page
var page embed.FS

const (
	// maxQuestions bounds the requests that ask a server at once, and questionTime how long one may take.
	maxQuestions = 4
	questionTime = 15 * time.Second
	// waitForSlot is how long a request waits for its turn.
	waitForSlot = 5 * time.Second
)

// handler is the console's whole HTTP side.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	files, _ := fs.Glob(page, "page/*")
	for _, name := range files {
		at := "GET /" + path.Base(name)
		switch path.Base(name) {
		case "index.html":
			at = "GET /{$}"
		case "login.html":
			at = "GET /login"
		}
		mux.HandleFunc(at, file(name))
	}
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("GET /api/state", s.state)
	mux.HandleFunc("GET /api/letters", s.ask(s.letters))
	mux.HandleFunc("GET /api/letter", s.ask(s.letter))
	mux.HandleFunc("GET /api/trace", s.ask(s.trace))
	mux.HandleFunc("GET /api/track", s.ask(s.track))
	mux.HandleFunc("GET /api/fleet", s.ask(s.fleet))
	mux.HandleFunc("POST /api/replay", s.ask(s.replay))
	return s.guard.protect(mux)
}

func file(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		content, err := page.ReadFile(name)
		if err != nil {
			http.Error(w, "not found", http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
		_, _ = w.Write(content) // what fails here is the client's connection
	}
}

func (s *Server) state(w http.ResponseWriter, r *http.Request) {
	seq, _ := strconv.ParseInt(r.URL.Query().Get("since"), 10, 64)
	now := s.poll.state(seq)
	if now.AllowChanges {
		now.Change = s.guard.change
	}
	answer(w, http.StatusOK, now)
}

// refusal is an answer that is no success, with its HTTP status.
type refusal struct {
	status int
	text   string
}

// Error implements error.
func (r *refusal) Error() string { return r.text }

// ask makes a handler of a question to Redis or PostgreSQL. Few run at once, each for a bounded time.
func (s *Server) ask(question func(ctx context.Context, r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		waiting, stop := context.WithTimeout(r.Context(), waitForSlot)
		defer stop()
		select {
		case s.slots <- struct{}{}:
			defer func() { <-s.slots }()
		case <-waiting.Done():
			fail(w, http.StatusServiceUnavailable, "too many questions at once; ask again")
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), questionTime)
		defer cancel()
		found, err := question(ctx, r)
		if err == nil {
			answer(w, http.StatusOK, found)
			return
		}
		if no, is := errors.AsType[*refusal](err); is {
			fail(w, no.status, no.text)
			return
		}
		if s.config.Explain != nil {
			err = s.config.Explain(err)
		}
		fail(w, http.StatusBadGateway, observe.Scrub(err.Error()))
	}
}

// answer writes JSON. What fails in it is the client's connection, and it knows.
func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(observe.JSONLines(w)).Encode(body)
}

func fail(w http.ResponseWriter, status int, text string) {
	answer(w, status, map[string]string{"error": text})
}

// streamOf returns the stream that a request names; the console answers about its own streams only.
func (s *Server) streamOf(name string) (string, error) {
	if !slices.Contains(s.config.Streams, name) {
		return "", &refusal{http.StatusBadRequest, "stream: not one of " + strings.Join(s.config.Streams, ", ")}
	}
	return name, nil
}
