package position

import "time"

// Window bounds the time of a fix against now; 0 is no bound. A fix outside of it is dead-lettered with
// TimestampOutOfWindow, since each stray day would make a chunk.
type Window struct {
	MaxAge, MaxFuture time.Duration
}

// Outside returns what is wrong with a fix's time, for people; empty where nothing is.
func (w Window) Outside(now, ts time.Time) string {
	switch {
	case w.MaxAge > 0 && now.Sub(ts) > w.MaxAge:
		return ts.Format(time.RFC3339) + " is older than --max-age " + w.MaxAge.String()
	case w.MaxFuture > 0 && ts.Sub(now) > w.MaxFuture:
		return ts.Format(time.RFC3339) + " is further ahead than --max-future " + w.MaxFuture.String()
	}
	return ""
}
