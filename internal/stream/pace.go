package stream

import "time"

// Counts are what two looks at a stream are compared by. A nil pointer is a count that Redis cannot tell.
type Counts struct {
	Added *int64
	// Read, Lag and Pending are those of the group; Read and Lag are nil without one.
	Read, Lag     *int64
	Pending       int64
	LastDelivered ID
	// Lost counts entries that were trimmed unread and that the group's count of reads does not hold yet.
	Lost int64
}

// Counts returns those of an Info.
func (i *Info) Counts() Counts {
	c := Counts{Added: i.Added, Lost: i.TrimmedUnread + i.Doubtful}
	if g := i.Group; g != nil {
		c.Read, c.Lag, c.Pending, c.LastDelivered = g.Read, g.Lag, g.Pending, g.LastDelivered
	}
	return c
}

// Counts returns those of a Stats.
func (s *Stats) Counts() Counts {
	return Counts{
		Added: s.Added, Read: s.Read, Lag: s.Lag, Pending: s.Pending, LastDelivered: s.lastDelivered,
		Lost: s.TrimmedUnread + s.Doubtful,
	}
}

// Pace is what happened between two looks, in entries a second: published, delivered to the group, and acknowledged.
// Nil where a count is not known or began anew in between.
type Pace struct {
	Added, Read, Done *float64
}

// PaceOf compares two looks that are so long apart. A worker that counts a loss corrects the group's count of reads by
// it, which is no reading.
func PaceOf(before, now Counts, took time.Duration) (p Pace) {
	if took <= 0 {
		return p
	}
	rate := func(n int64) *float64 { return new(float64(max(n, 0)) / took.Seconds()) }
	if added := increase(before.Added, now.Added); added != nil {
		p.Added = rate(*added)
	}
	reads := increase(before.Read, now.Read)
	if reads == nil {
		return p
	}
	if before.LastDelivered == now.LastDelivered {
		*reads = 0
	} else {
		*reads -= max(before.Lost-now.Lost, 0)
	}
	p.Read, p.Done = rate(*reads), rate(*reads-now.Pending+before.Pending)
	return p
}

func increase(from, to *int64) *int64 {
	if from == nil || to == nil || *to < *from {
		return nil
	}
	return new(*to - *from)
}

// CatchUp returns the time until the lag is read at this pace; nil where it does not become smaller or is not known.
func (p Pace) CatchUp(lag *int64) *time.Duration {
	if lag == nil || p.Added == nil || p.Read == nil || *p.Read <= *p.Added {
		return nil
	}
	return new(time.Duration(float64(*lag) / (*p.Read - *p.Added) * float64(time.Second)))
}

// KeepsUp reports whether what is unread is less than what comes in 2 s.
func (p Pace) KeepsUp(lag *int64) bool {
	return lag != nil && (*lag == 0 || p.Added != nil && float64(*lag) < 2**p.Added)
}
