package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"

	"processor/internal/deadletter"
	"processor/internal/position"
	"processor/internal/stream"
)

const (
	// listed and scanned bound one page of dead letters: those listed, and those read for it.
	listed  = 50
	scanned = 2000
	// maxShown bounds the bytes of a payload that a browser is sent.
	maxShown = 64 << 10
	// maxReplay bounds the letters of one request.
	maxReplay = 100
	// followFor is how long a replay waits for the worker.
	followFor = 5 * time.Second
	maxBody   = 64 << 10
)

// letterLine is a dead letter in the list. It has no payload.
type letterLine struct {
	Stream   string    `json:"stream"`
	ID       string    `json:"id"`
	Time     time.Time `json:"time"`
	Reason   string    `json:"reason"`
	Detail   string    `json:"detail"`
	SQLState string    `json:"sqlstate,omitempty"`
	Device   string    `json:"device"`
	SourceID string    `json:"source_id"`
	Cut      bool      `json:"cut"` // only the beginning of the entry is kept: it cannot be replayed
}

func lineOf(name string, l *deadletter.Letter) letterLine {
	return letterLine{name, l.ID.String(), l.At(), l.ReasonText(), l.Detail, l.SQLState, l.Device, l.SourceID, l.Cut()}
}

// letterList is one page, the newest first.
type letterList struct {
	Letters []letterLine `json:"letters"`
	Scanned int          `json:"scanned"`
	// Next continues the list with ?before=; empty at its end.
	Next string `json:"next,omitempty"`
}

// letters answers ?stream=&reason=&before=.
func (s *Server) letters(ctx context.Context, r *http.Request) (any, error) {
	q := r.URL.Query()
	name, err := s.streamOf(q.Get("stream"))
	if err != nil {
		return nil, err
	}
	from := stream.MaxID()
	if text := q.Get("before"); text != "" {
		id, err := stream.ParseID(text)
		if err != nil {
			return nil, &refusal{http.StatusBadRequest, "before: not an id"}
		}
		from = id.Previous()
	}
	list := letterList{Letters: []letterLine{}}
	for {
		page, err := stream.DeadLetters(ctx, s.client, name, from, stream.ID{})
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			return list, nil
		}
		for i := range page {
			list.Scanned++
			if l := deadletter.NewLetter(&page[i]); q.Get("reason") == "" || q.Get("reason") == l.ReasonText() {
				list.Letters = append(list.Letters, lineOf(name, &l))
			}
			if len(list.Letters) == listed || list.Scanned == scanned {
				list.Next = page[i].ID.String()
				return list, nil
			}
		}
		from = page[len(page)-1].ID.Previous()
	}
}

// openLetter is one dead letter beside its decode error.
type openLetter struct {
	letterLine
	// Key is the key of the payload that is at fault; empty where none or all of it is.
	Key string `json:"key,omitempty"`
	// Now is what decoding says now; Decodes reports whether it succeeds.
	Now     string `json:"now"`
	Decodes bool   `json:"decodes"`

	Bytes int `json:"bytes"` // of the payload
	// Payload is nil where it is hidden. It is indented where it is JSON, and quoted where it is no text.
	Payload   *string      `json:"payload"`
	Shortened bool         `json:"shortened,omitempty"`
	Fields    []shownField `json:"fields"`
}

// shownField is a field beside the payload; its value is nil where it is hidden.
type shownField struct {
	Name  string  `json:"name"`
	Bytes int     `json:"bytes"`
	Value *string `json:"value"`
}

// letter answers ?stream=&id=.
func (s *Server) letter(ctx context.Context, r *http.Request) (any, error) {
	name, err := s.streamOf(r.URL.Query().Get("stream"))
	if err != nil {
		return nil, err
	}
	id, err := stream.ParseID(r.URL.Query().Get("id"))
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, "id: not an id"}
	}
	found, err := stream.DeadLetters(ctx, s.client, name, id, id)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, &refusal{http.StatusNotFound, "no dead letter has this id any more: it was replayed or dropped"}
	}
	l := deadletter.NewLetter(&found[0])
	return s.open(name, &l), nil
}

func (s *Server) open(name string, l *deadletter.Letter) openLetter {
	o := openLetter{letterLine: lineOf(name, l), Bytes: len(l.Payload()), Fields: []shownField{}}
	o.Key, o.Now, o.Decodes = decodes(l)
	for _, f := range l.Fields {
		if string(f.Name) == "payload" {
			continue
		}
		field := shownField{Name: text(f.Name), Bytes: len(f.Value)}
		if s.config.ShowPositions {
			value, _ := shorten(text(f.Value))
			field.Value = &value
		}
		o.Fields = append(o.Fields, field)
	}
	if s.config.ShowPositions {
		payload, cut := shorten(readable(l.Payload()))
		o.Payload, o.Shortened = &payload, cut
	}
	return o
}

// decodes tries to decode a letter as the worker would.
func decodes(l *deadletter.Letter) (key, now string, ok bool) {
	if l.Cut() {
		return "", "only the beginning of the entry is kept", false
	}
	var d position.Decoder
	_, err := d.Decode(l.Payload())
	if wrong, is := errors.AsType[*position.Error](err); is {
		return wrong.Key, wrong.Error(), false
	}
	if err != nil {
		return "", err.Error(), false
	}
	return "", "the payload decodes: the fault is outside of it", true
}

// text is bytes as text: quoted where they are no UTF-8.
func text(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return fmt.Sprintf("%q", b)
}

// readable indents what is JSON, every digit as it was.
func readable(payload []byte) string {
	var indented bytes.Buffer
	if len(payload) > maxShown || !utf8.Valid(payload) || json.Indent(&indented, payload, "", "  ") != nil {
		return text(payload[:min(len(payload), maxShown+utf8.UTFMax)])
	}
	return indented.String()
}

// shorten cuts a text to what a browser is sent.
func shorten(text string) (string, bool) {
	if len(text) <= maxShown {
		return text, false
	}
	end := maxShown
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end], true
}

// replayed is what became of dead letters that were put back.
type replayed struct {
	Replayed  int `json:"replayed"`
	LeftOut   int `json:"left_out"` // cut ones
	Rows      int `json:"rows"`
	DeadAgain int `json:"dead_again"`
	Pending   int `json:"pending"`
	Unread    int `json:"unread"`
	// Read reports whether a worker reads the stream.
	Read bool `json:"read"`
}

// replay puts the dead letters of a body {"stream": …, "ids": […]} back on their stream.
func (s *Server) replay(ctx context.Context, r *http.Request) (any, error) {
	if !s.config.AllowChanges {
		return nil, &refusal{http.StatusForbidden, "this console is read-only: start it with --allow-changes"}
	}
	if !s.guard.mayChange(r) {
		return nil, &refusal{http.StatusForbidden, "the header " + changeHeader + " is missing or old: load the page again"}
	}
	var body struct {
		Stream string   `json:"stream"`
		IDs    []string `json:"ids"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody)).Decode(&body); err != nil {
		return nil, &refusal{http.StatusBadRequest, `wanted: {"stream": "…", "ids": ["…"]}`}
	}
	name, err := s.streamOf(body.Stream)
	if err != nil {
		return nil, err
	}
	ids := make([]stream.ID, 0, len(body.IDs))
	for _, text := range body.IDs {
		id, err := stream.ParseID(text)
		if err != nil {
			return nil, &refusal{http.StatusBadRequest, "ids: not all are ids"}
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 || len(ids) > maxReplay {
		return nil, &refusal{http.StatusBadRequest, fmt.Sprintf("ids: wanted 1 to %d of them", maxReplay)}
	}
	done, err := s.putBack(ctx, name, ids)
	s.config.Logger.Info("console: dead letters replayed", "stream", name, "replayed", done.Replayed, "remote", r.RemoteAddr)
	return done, err
}

func (s *Server) putBack(ctx context.Context, name string, ids []stream.ID) (replayed, error) {
	queue := deadletter.NewQueue(s.client, name)
	follower, err := queue.Follow(ctx, s.config.Group)
	if err != nil {
		return replayed{}, err
	}
	chosen, err := queue.Select(ctx, deadletter.Filter{IDs: ids, Whole: true})
	if err != nil {
		return replayed{}, err
	}
	var done replayed
	err = chosen.Pages(ctx, func(page []deadletter.Letter) error {
		added, err := queue.Replay(ctx, page)
		follower.Add(added)
		done.Replayed += len(added)
		return err
	})
	done.LeftOut = chosen.LeftOut()
	if err != nil || done.Replayed == 0 {
		return done, err
	}
	became, err := follower.Await(ctx, time.Now().Add(followFor))
	done.Rows, done.DeadAgain, done.Pending, done.Unread, done.Read = became.Rows, became.DeadAgain, became.Pending, became.Unread, became.Read
	return done, err
}
