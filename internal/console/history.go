package console

import (
	"encoding/json"
	"math"
	"time"

	"processor/internal/status"
)

const (
	// maxPoints is what a chart shows: ten minutes.
	maxPoints = 300
	// maxCells bounds the figures of all charts together, in points times streams.
	maxCells = 60_000
)

// figures of one stream at one moment, in the order of the page's charts; NaN is not known.
type figures [5]float64

// MarshalJSON implements json.Marshaler: JSON has no NaN.
func (f figures) MarshalJSON() ([]byte, error) {
	values := make([]*float64, len(f))
	for i, v := range f {
		if !math.IsNaN(v) {
			values[i] = &v
		}
	}
	return json.Marshal(values)
}

// point is one look.
type point struct {
	Seq     int64              `json:"seq"`
	Millis  int64              `json:"t"`
	Streams map[string]figures `json:"streams"`
}

// history is the last looks, the oldest first.
type history struct {
	points []point
	seq    int64
	dead   map[string]int64 // dead letters of each stream at the last look
	at     time.Time
}

// add appends a look and drops those that are too old.
func (h *history) add(v *status.View) {
	h.seq = max(h.seq+1, v.Time.UnixMilli()) // greater than those of a console before this one: browsers go on
	p := point{Seq: h.seq, Millis: v.Time.UnixMilli(), Streams: map[string]figures{}}
	dead := map[string]int64{}
	for i := range v.Streams {
		s := &v.Streams[i]
		before, known := h.dead[s.Name]
		p.Streams[s.Name] = figuresOf(v, s, before, known, v.Time.Sub(h.at))
		if v.Redis.OK {
			dead[s.Name] = s.DeadLetters.Total
		}
	}
	h.dead, h.at = dead, v.Time
	h.points = append(h.points, p)
	limit := min(maxPoints, max(maxCells/max(len(v.Streams), 1), 2))
	if len(h.points) > limit {
		h.points = append(h.points[:0], h.points[len(h.points)-limit:]...)
	}
}

// figuresOf are added, stored, lag, pending and dead letters. Stored is what was acknowledged and is no dead letter.
func figuresOf(v *status.View, s *status.Stream, deadBefore int64, known bool, took time.Duration) figures {
	unknown := math.NaN()
	f := figures{unknown, unknown, unknown, unknown, unknown}
	if !v.Redis.OK {
		return f
	}
	f[4] = float64(s.DeadLetters.Total)
	if s.AddedRate != nil {
		f[0] = *s.AddedRate
	}
	if s.DoneRate != nil {
		f[1] = *s.DoneRate
		if added := s.DeadLetters.Total - deadBefore; known && added > 0 && took > 0 {
			f[1] -= float64(added) / took.Seconds()
		}
		f[1] = max(f[1], 0)
	}
	if s.Group != nil {
		f[3] = float64(s.Group.Pending)
		if s.Group.Lag != nil {
			f[2] = float64(*s.Group.Lag)
		}
	}
	return f
}

// after returns the looks behind one, which never change: the caller may keep them.
func (h *history) after(seq int64) []point {
	from := len(h.points)
	for from > 0 && h.points[from-1].Seq > seq {
		from--
	}
	return append([]point{}, h.points[from:]...)
}
