package cli

import (
	"fmt"
	"io"
	"strconv"
	"time"
	"unicode/utf8"
)

// statusView is one state of everything, as --json writes it. What is not known is null.
type statusView struct {
	Time     time.Time    `json:"time"`
	Redis    serverView   `json:"redis"`
	Postgres serverView   `json:"postgres"`
	Group    string       `json:"group"`
	Streams  []streamView `json:"streams"`
	Newest   *rowView     `json:"newest_row"`
}

type serverView struct {
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

type streamView struct {
	Name        string     `json:"name"`
	Exists      bool       `json:"exists"`
	Length      int64      `json:"length"`
	AddedRate   *float64   `json:"added_per_second"`
	ReadRate    *float64   `json:"read_per_second"`
	Group       *groupView `json:"group"`
	DeadLetters deadView   `json:"dead_letters"`
}

type groupView struct {
	Lag       *int64         `json:"lag"`
	Pending   int64          `json:"pending"`
	Oldest    *float64       `json:"oldest_pending_seconds"`
	Consumers []consumerView `json:"consumers"`
}

type consumerView struct {
	Name    string  `json:"name"`
	Pending int64   `json:"pending"`
	Idle    float64 `json:"idle_seconds"`
}

type deadView struct {
	Total int64 `json:"total"`
	// Counted is how many of them, the newest, ByReason is about.
	Counted  int   `json:"counted"`
	ByReason tally `json:"by_reason"`
}

type rowView struct {
	DeviceID   string    `json:"device_id"`
	Timestamp  time.Time `json:"ts"`
	IngestedAt time.Time `json:"ingested_at"`
}

func (v *statusView) write(w io.Writer, paint func(colour, string) string) {
	server := func(name string, s serverView) {
		if s.OK {
			fmt.Fprintf(w, "%-10s%s\n", name, paint(green, "ok"))
			return
		}
		fmt.Fprintf(w, "%-10s%s: %s\n", name, paint(red, "failed"), printable(s.Error))
	}
	server("redis", v.Redis)
	for i := range v.Streams {
		v.Streams[i].write(w, v.Group, paint)
	}
	server("postgres", v.Postgres)
	switch {
	case v.Newest != nil:
		fmt.Fprintf(w, "  newest row    written %s ago, at %s: device %s, fix of %s\n", age(max(v.Time.Sub(v.Newest.IngestedAt), 0)),
			stamp(v.Newest.IngestedAt), printable(v.Newest.DeviceID), stamp(v.Newest.Timestamp))
	case v.Postgres.OK:
		fmt.Fprintln(w, "  newest row    – (none of the entries read last is a row)")
	}
}

func (s *streamView) write(w io.Writer, group string, paint func(colour, string) string) {
	fmt.Fprintf(w, "  stream %s\n", printable(s.Name))
	if !s.Exists {
		fmt.Fprintf(w, "    %s\n", paint(yellow, "does not exist"))
	} else {
		fmt.Fprintf(w, "    length        %d\n", s.Length)
		fmt.Fprintf(w, "    rate          %s added, %s read\n", perSecond(s.AddedRate), perSecond(s.ReadRate))
		s.writeGroup(w, group, paint)
	}
	dead := &s.DeadLetters
	switch {
	case dead.Total == 0:
		fmt.Fprintln(w, "    dead letters  0")
	case int64(dead.Counted) < dead.Total:
		fmt.Fprintf(w, "    dead letters  %s; of the newest %d: %s\n", paint(yellow, strconv.FormatInt(dead.Total, 10)), dead.Counted, dead.ByReason)
	default:
		fmt.Fprintf(w, "    dead letters  %s: %s\n", paint(yellow, strconv.FormatInt(dead.Total, 10)), dead.ByReason)
	}
}

func (s *streamView) writeGroup(w io.Writer, name string, paint func(colour, string) string) {
	g := s.Group
	if g == nil {
		fmt.Fprintf(w, "    group         %s\n", paint(yellow, printable(name)+" does not exist"))
		return
	}
	lag, oldest := "–", ""
	if g.Lag != nil {
		lag = strconv.FormatInt(*g.Lag, 10)
	}
	if g.Oldest != nil {
		oldest = ", the oldest added " + seconds(*g.Oldest) + " ago"
	}
	fmt.Fprintf(w, "    group         %s: lag %s, pending %d%s\n", printable(name), lag, g.Pending, oldest)
	width := 0
	for _, c := range g.Consumers {
		width = max(width, utf8.RuneCountInString(printable(c.Name)))
	}
	for i, c := range g.Consumers {
		label := ""
		if i == 0 {
			label = "consumers"
		}
		fmt.Fprintf(w, "    %-12s  %-*s  pending %d, idle %s\n", label, width, printable(c.Name), c.Pending, seconds(c.Idle))
	}
}

func seconds(s float64) string { return age(time.Duration(s * float64(time.Second))) }

func perSecond(rate *float64) string {
	if rate == nil {
		return "–"
	}
	return strconv.FormatFloat(*rate, 'f', 0, 64) + "/s"
}
