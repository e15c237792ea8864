package status

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"processor/internal/format"
	"processor/internal/stream"
)

// Level is how well a stream is; a greater one is worse.
type Level int

// Levels.
const (
	OK Level = iota
	CatchingUp
	Warning
	Critical
)

// String is what status prints.
func (l Level) String() string { return [...]string{"OK", "CATCHING UP", "WARNING", "CRITICAL"}[l] }

// MarshalText implements encoding.TextMarshaler, for --json.
func (l Level) MarshalText() ([]byte, error) {
	return []byte(strings.ReplaceAll(strings.ToLower(l.String()), " ", "_")), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Level) UnmarshalText(text []byte) error {
	for *l = OK; *l <= Critical; *l++ {
		if known, _ := l.MarshalText(); string(known) == string(text) {
			return nil
		}
	}
	return errNotAllowed
}

// Verdict is the judgement of one stream.
type Verdict struct {
	Level Level  `json:"level"`
	Text  string `json:"text"`
}

// figures are what a verdict on one stream is made from. A nil pointer is a figure that is not known.
type figures struct {
	// redis and postgres say why the server could not be asked; empty where it answered.
	redis, postgres string

	group            string
	exists, hasGroup bool
	length           int64
	lag              *int64
	pending          int64
	// consumers are the members of the group, and idle the time since one of them last asked for entries.
	consumers int
	idle      time.Duration
	// added, read and done are entries per second: published, delivered, and acknowledged.
	added, read, done *float64
	// oldestUnread, oldestPending and newestCommit are ages.
	oldestUnread, oldestPending, newestCommit *time.Duration
	// trim is when trimming reaches unread entries. Where trimAtLeast is set, nothing was trimmed between the
	// samples, and the stream may become longer before it is.
	trim        *time.Duration
	trimAtLeast bool
	// trimmedUnread and trimmedPending are losses that Redis shows, doubtful those that may be none.
	trimmedUnread, trimmedPending, doubtful int64
}

const (
	// normalDelay is how old an entry may be before it is more than in flight.
	normalDelay = 10 * time.Second
	// silence is how long no consumer may ask for entries, or nothing may be committed while entries wait.
	silence = time.Minute
	// pendingTooLong is the age at which the alert ProcessorPendingStuck fires.
	pendingTooLong = 5 * time.Minute
	// trimCritical and trimNear are times until unread entries are trimmed.
	trimCritical = 10 * time.Minute
	trimNear     = time.Hour
)

// judgement collects what there is to say, and the worst level of it.
type judgement struct {
	level Level
	parts []string
}

func (j *judgement) say(l Level, text string, args ...any) {
	j.level = max(j.level, l)
	j.parts = append(j.parts, fmt.Sprintf(text, args...))
}

// judge makes a verdict. It is pure: the same figures have the same verdict.
func judge(f figures) Verdict {
	var j judgement
	switch {
	case f.redis != "":
		j.say(Critical, "state unknown (Redis: %s)", f.redis)
	case !f.exists:
		j.say(Warning, "stream does not exist: nothing was published, or REDIS_STREAM is wrong")
	case !f.hasGroup:
		l := Warning
		if f.length > 0 {
			l = Critical
		}
		j.say(l, "nobody reads this stream: group %s does not exist; %s waiting", f.group, format.Entries(f.length))
	default:
		j.flow(f)
		j.behind(f)
		j.pending(f)
	}
	j.losses(f)
	if f.postgres != "" && !f.stalled() {
		j.say(Warning, "rows unknown (PostgreSQL: %s)", f.postgres)
	}
	return Verdict{j.level, strings.Join(j.parts, "; ")}
}

// waiting is how many entries are not acknowledged yet; at least so many where the lag is not known.
func (f *figures) waiting() int64 {
	n := f.pending
	if f.lag != nil {
		n += *f.lag
	} else if f.oldestUnread != nil {
		n++
	}
	return n
}

// oldest is the age of the oldest entry that is not acknowledged.
func (f *figures) oldest() time.Duration {
	var age time.Duration
	for _, a := range []*time.Duration{f.oldestUnread, f.oldestPending} {
		if a != nil {
			age = max(age, *a)
		}
	}
	return age
}

// unattended: no consumer asks for entries. One that holds a batch while the database is away does not either.
func (f *figures) unattended() bool {
	return f.consumers == 0 || (f.idle > silence && (f.pending == 0 || f.postgres == ""))
}

// stalled: entries wait and none was acknowledged between the samples, nor committed lately.
func (f *figures) stalled() bool {
	switch {
	case f.redis != "" || !f.hasGroup || f.waiting() == 0 || f.unattended() || positive(f.done):
		return false
	case f.postgres != "":
		return true
	default:
		return f.oldest() > silence && (f.newestCommit == nil || *f.newestCommit > silence)
	}
}

// far reports whether the group is further behind than what is in flight.
func (f *figures) far() bool {
	return f.oldestUnread != nil && *f.oldestUnread > normalDelay
}

// flow says whether entries are read and stored.
func (j *judgement) flow(f figures) {
	switch {
	case f.unattended():
		l, who := Warning, "the group has no consumer"
		if f.consumers > 0 {
			who = "no consumer has asked for " + format.Span(f.idle)
		}
		if f.waiting() > 0 {
			l = Critical
		}
		j.say(l, "nobody reads this stream: %s", who)
	case f.stalled():
		what := "nothing is being stored"
		switch {
		case f.newestCommit != nil:
			what = "no commits for " + format.Span(*f.newestCommit)
		case f.idle > normalDelay:
			what += ", nor read for " + format.Span(f.idle)
		}
		if f.postgres != "" {
			what += fmt.Sprintf(" (PostgreSQL: %s)", f.postgres)
		}
		j.say(Critical, "%s", what)
	case f.far() && f.read != nil && f.added != nil && f.lag != nil:
		if gain := *f.read - *f.added; gain > 0 {
			j.say(CatchingUp, "%s, done in %s", PerSecond(f.read), format.Span(format.Seconds(float64(*f.lag)/gain)))
		} else {
			j.say(Warning, "falling behind: %s added, %s read", PerSecond(f.added), PerSecond(f.read))
		}
	case f.added != nil:
		j.say(OK, "%s", PerSecond(f.added))
	default:
		j.say(OK, "rate unknown")
	}
}

// behind says what is unread, and when it is lost.
func (j *judgement) behind(f figures) {
	switch {
	case f.lag == nil && f.oldestUnread != nil:
		j.say(OK, "behind an unknown number of entries = %s", format.Span(*f.oldestUnread))
	case f.lag == nil:
		j.say(OK, "nothing unread")
	case *f.lag == 0:
		j.say(OK, "lag 0")
	case f.oldestUnread != nil:
		j.say(OK, "behind %s = %s", format.Entries(*f.lag), format.Span(*f.oldestUnread))
	default:
		j.say(OK, "behind %s", format.Entries(*f.lag))
	}
	if f.trim == nil || *f.trim >= trimNear {
		return
	}
	l, least := Warning, ""
	if *f.trim < trimCritical {
		l = Critical
	}
	switch {
	case *f.trim < time.Second:
		j.say(l, "Redis trims unread entries now")
		return
	case f.trimAtLeast:
		least = ", or later"
	}
	j.say(l, "Redis trims unread entries in %s%s", format.Span(*f.trim), least)
}

func (j *judgement) pending(f figures) {
	if f.stalled() && !f.far() && f.oldestPending != nil {
		j.say(OK, "%s pending, the oldest added %s ago", format.Entries(f.pending), format.Span(*f.oldestPending))
		return
	}
	if f.oldestPending != nil && *f.oldestPending > pendingTooLong && !f.stalled() && !f.far() {
		j.say(Warning, "the oldest of %s pending was added %s ago", format.Entries(f.pending), format.Span(*f.oldestPending))
	}
}

func (j *judgement) losses(f figures) {
	if f.trimmedUnread > 0 {
		j.say(Critical, "lost: %s trimmed unread", format.Entries(f.trimmedUnread))
	}
	if f.trimmedPending > 0 {
		j.say(Critical, "%s trimmed while pending, lost unless a worker holds them", format.Entries(f.trimmedPending))
	}
	if f.doubtful > 0 {
		j.say(Warning, "possibly lost: %s, since Redis's count of reads is not reliable", format.Entries(f.doubtful))
	}
}

func positive(rate *float64) bool { return rate != nil && *rate > 0 }

// PerSecond is "1,234/s", or a dash where the rate is not known.
func PerSecond(rate *float64) string {
	if rate == nil {
		return "–"
	}
	return format.Thousands(int64(math.Round(*rate))) + "/s"
}

// forecastTrim returns when trimming reaches unread entries, from two looks at a stream that took so long:
// entries that were read lie between, and each addition beyond those read takes one of them. Nil where nothing was
// ever trimmed, where the group keeps up, or where what is unread is less than what comes in 2 s.
func forecastTrim(length int64, lag *int64, trimmedBefore, trimmedNow int64, added, read *float64) (reach *time.Duration, atLeast bool) {
	if lag == nil || added == nil || read == nil || trimmedNow <= 0 || *added <= *read || (stream.Pace{Added: added}).KeepsUp(lag) {
		return nil, false
	}
	return new(format.Seconds(float64(max(length-*lag, 0)) / (*added - *read))), trimmedNow <= trimmedBefore
}

// worstFirst orders streams by their verdicts; of equal ones the order of the flag stays.
func worstFirst(streams []Stream) {
	slices.SortStableFunc(streams, func(a, b Stream) int { return cmp.Compare(b.Verdict.Level, a.Verdict.Level) })
}
