package store

import (
	"cmp"
	"slices"
	"time"

	"processor/internal/position"
)

// maxChunks is how many days one transaction touches, each of which may be a chunk: a new one takes about 20 ms
// during which other writers wait, and each needs half a dozen of the server's locks.
const maxChunks = 8

// dayRows are the rows of a batch that lie in one day (UTC), in the order of the batch's keys.
type dayRows struct {
	day  int64 // since 1970
	rows []int32
}

func dayOf(p *position.Position) int64 { return dayOfTime(p.Timestamp) }

func dayOfTime(t time.Time) int64 {
	const secondsADay = 24 * 60 * 60
	seconds := t.Unix()
	day := seconds / secondsADay
	if seconds%secondsADay < 0 {
		day--
	}
	return day
}

func startOf(day int64) time.Time { return time.Unix(day*24*60*60, 0).UTC() }

// daysOf lists the days of the rows, up to maxChunks and one more.
func daysOf(positions []position.Position, rows []int32) []int64 {
	days := make([]int64, 0, maxChunks+1)
	for _, row := range rows {
		if day := dayOf(&positions[row]); !slices.Contains(days, day) {
			days = append(days, day)
			if len(days) > maxChunks {
				break
			}
		}
	}
	return days
}

// byDay groups the rows by day, in the order of the days' first rows.
func byDay(positions []position.Position, rows []int32) []dayRows {
	at := make(map[int64]int)
	var groups []dayRows
	for _, row := range rows {
		day := dayOf(&positions[row])
		n, ok := at[day]
		if !ok {
			n = len(groups)
			at[day] = n
			groups = append(groups, dayRows{day: day})
		}
		groups[n].rows = append(groups[n].rows, row)
	}
	return groups
}

// byCloseness sorts the groups, the days closest to today first.
func byCloseness(groups []dayRows, today int64) []dayRows {
	distance := func(day int64) int64 { return max(day-today, today-day) }
	slices.SortStableFunc(groups, func(a, b dayRows) int { return cmp.Compare(distance(a.day), distance(b.day)) })
	return groups
}

// portions returns the rows as portions that touch at most maxChunks days each, the days closest to today first.
// Those of days that are not known come last, and only the first portion is taken of them: later holds the
// others. In each the order of keys is kept.
func portions(positions []position.Position, order []int32, today int64, known func(int64) bool) (now [][]int32, later []int32) {
	if len(daysOf(positions, order)) <= maxChunks {
		return [][]int32{order}, nil
	}
	groups := byCloseness(byDay(positions, order), today)
	var live, unknown []dayRows
	for i, g := range groups {
		if i < maxChunks || known(g.day) {
			live = append(live, g)
		} else {
			unknown = append(unknown, g)
		}
	}
	rank := make(map[int32]int, len(order))
	for n, row := range order {
		rank[row] = n
	}
	join := func(groups []dayRows) (rows []int32) {
		for _, g := range groups {
			rows = append(rows, g.rows...)
		}
		slices.SortFunc(rows, func(a, b int32) int { return cmp.Compare(rank[a], rank[b]) })
		return rows
	}
	for part := range slices.Chunk(live, maxChunks) {
		now = append(now, join(part))
	}
	return now, join(unknown)
}

// maxPortions is how many portions of a batch are written before the next batch has its turn.
const maxPortions = 8

// atOnce leaves the first portions to be written now, and adds the others to those that are parked: a batch
// over many days, known ones too, must not delay the live rows of the next.
func atOnce(portions [][]int32, later []int32) (now [][]int32, parked []int32) {
	if len(portions) <= maxPortions {
		return portions, later
	}
	return portions[:maxPortions], slices.Concat(slices.Concat(portions[maxPortions:]...), later)
}
