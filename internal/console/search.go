package console

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"processor/internal/stream"
	"processor/internal/trace"
)

const (
	// traceScan bounds the entries and dead letters of each stream that a search reads.
	traceScan = 20_000
	maxDevice = 256
)

// traceAnswer is an answer, and its line for people.
type traceAnswer struct {
	*trace.Answer
	Label string `json:"label"`
	Text  string `json:"text"`
}

// traceResult is a whole search. Note says what a person must know beside the answers.
type traceResult struct {
	Answers []traceAnswer `json:"answers"`
	Note    string        `json:"note,omitempty"`
}

// trace answers ?what=, a device or the id of an entry, and for a device &at= or &since=.
func (s *Server) trace(ctx context.Context, r *http.Request) (any, error) {
	query, err := queryOf(r.FormValue("what"), r.FormValue("at"), r.FormValue("since"))
	if err != nil {
		return nil, err
	}
	result := traceResult{Answers: []traceAnswer{}}
	search := trace.Search{Client: s.client, DatabaseURL: s.config.DatabaseURL, Streams: s.config.Streams, Group: s.config.Group, Scan: traceScan,
		Say: func(a *trace.Answer) error {
			said := *a // the searches use theirs again
			result.Answers = append(result.Answers, traceAnswer{&said, a.KindText(), a.Text(time.Now())})
			return nil
		}}
	switch err := search.Run(ctx, query); {
	case errors.Is(err, trace.ErrIncomplete), errors.Is(err, trace.ErrNowhere):
		result.Note = err.Error()
	case err != nil:
		return nil, err
	}
	return result, nil
}

// queryOf reads a search. It is pure but for errors of the type that a browser is shown.
func queryOf(what, at, since string) (trace.Query, error) {
	no := func(text string) (trace.Query, error) { return trace.Query{}, &refusal{http.StatusBadRequest, text} }
	what, at, since = strings.TrimSpace(what), strings.TrimSpace(at), strings.TrimSpace(since)
	switch {
	case what == "":
		return no("name a device, or an entry by its id such as 1764036553000-0")
	case len(what) > maxDevice || !utf8.ValidString(what):
		return no("this is no device")
	}
	// A device may have a name like the id of an entry. A search with a time means the device.
	if id, err := stream.ParseID(what); err == nil && strings.Contains(what, "-") && at == "" && since == "" {
		return trace.Query{ID: id}, nil
	}
	query := trace.Query{Devices: []string{what}, Within: 30 * time.Second}
	if at != "" {
		when, err := time.Parse(time.RFC3339Nano, at)
		if err != nil {
			return no("the time must be such as 2025-06-01T12:00:00Z")
		}
		query.At = when
		return query, nil
	}
	if since != "" {
		d, err := time.ParseDuration(since)
		if err != nil || d <= 0 {
			return no("since must be a duration such as 15m")
		}
		query.Since = d
	}
	return query, nil
}
