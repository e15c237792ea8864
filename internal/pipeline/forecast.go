package pipeline

import (
	"time"

	"processor/internal/stream"
)

const (
	// forecastSpan is how far apart the two looks are that are compared: reads advance by whole
	// batches, and over a few seconds that hides which of the two is faster.
	forecastSpan = time.Minute
	// steadyFor is how long each look must find trimming closing in before it is believed.
	steadyFor = time.Minute
	// stoppedAfter is how long nothing may be read, while entries are added, before that alone is believed.
	stoppedAfter = 15 * time.Second
	// trimWarning is the time until trimming would reach unread entries below which it is logged,
	// and awayFor how long it must have been longer than that to be logged again.
	trimWarning = 10 * time.Minute
	awayFor     = time.Minute
	// trimStep: Redis trims whole nodes of 100 entries (stream-node-max-entries), so a stream at
	// its limit may stay as it is for as many additions, and as many again.
	trimStep = 200
)

// forecast computes when trimming would reach unread entries, from looks at a stream.
type forecast struct {
	looks []look // the oldest first; the first one is forecastSpan old, or older
	// trimmed is the look that last found more trimmed than the one before.
	trimmed look
	// since is when reading began to fall behind; zero while it does not.
	since time.Time
	// nearAt is when it was last nearer than trimWarning.
	nearAt time.Time
}

// look is what matters here of a stream's state at one time.
type look struct {
	at                   time.Time
	added, trimmed, read int64
}

// update returns the time until then; nil where the stream is not being trimmed, or reading
// keeps up with what is added, which a stream at its limit is trimmed by.
func (f *forecast) update(now time.Time, s stream.Stats) *time.Duration {
	if s.Added == nil || s.Read == nil || *s.Read == 0 {
		*f = forecast{nearAt: f.nearAt}
		return nil
	}
	l := look{at: now, added: *s.Added, trimmed: *s.Added - s.Length, read: *s.Read}
	if f.restarted(l) {
		*f = forecast{nearAt: f.nearAt}
	}
	if n := len(f.looks); n > 0 && l.trimmed > f.looks[n-1].trimmed {
		f.trimmed = l
	}
	f.looks = append(f.looks, l)
	// What is lost will count as read from the next look on, and was not.
	for i := range f.looks {
		f.looks[i].read += s.TrimmedUnread + s.Doubtful
	}
	l = f.looks[len(f.looks)-1]
	for len(f.looks) > 2 && now.Sub(f.looks[1].at) >= forecastSpan {
		f.looks = f.looks[1:]
	}
	before, certain := f.looks[0], false
	if idle := f.idle(); now.Sub(idle.at) >= stoppedAfter && l.added > idle.added {
		before, certain = idle, true
	}
	elapsed := now.Sub(before.at)
	behind := (l.added - before.added) - (l.read - before.read)
	if (elapsed < forecastSpan && !certain) || behind <= 0 || !f.trimming(l) {
		f.since = time.Time{}
		return nil
	}
	if f.since.IsZero() {
		f.since = now
	}
	if now.Sub(f.since) < steadyFor && !certain {
		return nil
	}
	// What lies between: entries that were read and are still on the stream.
	between := max(l.read-l.trimmed, 0)
	return new(time.Duration(float64(between) / float64(behind) * float64(elapsed)))
}

// idle returns the first of the looks since which nothing was read.
func (f *forecast) idle() look {
	first := len(f.looks) - 1
	for first > 0 && f.looks[first-1].read == f.looks[first].read {
		first--
	}
	return f.looks[first]
}

// restarted reports whether counts have gone back: the stream or the group was made anew.
func (f *forecast) restarted(l look) bool {
	if len(f.looks) == 0 {
		return false
	}
	last := f.looks[len(f.looks)-1]
	return l.added < last.added || l.read < last.read
}

// trimming reports whether the stream is at its limit.
func (f *forecast) trimming(l look) bool {
	return !f.trimmed.at.IsZero() && (l.at.Sub(f.trimmed.at) <= forecastSpan || l.added-f.trimmed.added <= trimStep)
}

// warns reports whether the forecast that update returned is to be logged.
func (f *forecast) warns(now time.Time, reach *time.Duration) bool {
	if reach == nil || *reach >= trimWarning {
		return false
	}
	away := f.nearAt.IsZero() || now.Sub(f.nearAt) > awayFor
	f.nearAt = now
	return away
}
