package position

import "time"

// parseRFC3339 reads a date-time of RFC 3339, section 5.6, and returns it in UTC, cut to the microseconds
// that timestamptz keeps. Unlike package time it refuses what the RFC does not have: a comma before the
// fraction, hours of one digit, offsets beyond 23:59. It takes what the RFC has: lower-case t and z, any
// number of digits in the fraction, and second 60 at the end of a month in UTC, which becomes the next
// second, as in PostgreSQL.
func parseRFC3339(text []byte) (time.Time, bool) {
	const layout = "0000-00-00T00:00:00"
	if len(text) <= len(layout) {
		return time.Time{}, false
	}
	for i := range len(layout) {
		switch c := text[i]; layout[i] {
		case '0':
			if c < '0' || c > '9' {
				return time.Time{}, false
			}
		case 'T':
			if c != 'T' && c != 't' {
				return time.Time{}, false
			}
		default:
			if c != layout[i] {
				return time.Time{}, false
			}
		}
	}
	year, month, day := twoDigits(text)*100+twoDigits(text[2:]), twoDigits(text[5:]), twoDigits(text[8:])
	hour, minute, second := twoDigits(text[11:]), twoDigits(text[14:]), twoDigits(text[17:])
	nanos, rest, ok := parseFraction(text[len(layout):])
	if !ok || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 60 {
		return time.Time{}, false
	}
	offset, ok := parseOffset(rest)
	if !ok {
		return time.Time{}, false
	}
	ts := time.Date(year, time.Month(month), day, hour, minute, min(second, 59), nanos, time.UTC)
	if offset != 0 {
		ts = ts.Add(-offset)
	}
	if second == 60 {
		ts = ts.Add(time.Second)
		if ts.Day() != 1 || ts.Hour() != 0 || ts.Minute() != 0 || ts.Second() != 0 {
			return time.Time{}, false
		}
	}
	return ts, true
}

func daysIn(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

func twoDigits(text []byte) int { return int(text[0]-'0')*10 + int(text[1]-'0') }

// parseFraction reads "." and at least one digit, where text starts so. Digits below the microsecond are
// dropped.
func parseFraction(text []byte) (nanos int, rest []byte, ok bool) {
	if text[0] != '.' {
		return 0, text, true
	}
	i := 1
	for unit := 100_000_000; i < len(text) && '0' <= text[i] && text[i] <= '9'; i++ {
		if unit >= 1000 {
			nanos += int(text[i]-'0') * unit
		}
		unit /= 10
	}
	return nanos, text[i:], i > 1
}

// parseOffset reads Z, z or ±hh:mm, which must be all of text.
func parseOffset(text []byte) (offset time.Duration, ok bool) {
	if len(text) == 1 {
		return 0, text[0] == 'Z' || text[0] == 'z'
	}
	if len(text) != len("+00:00") || text[3] != ':' || text[0] != '+' && text[0] != '-' {
		return 0, false
	}
	for _, i := range []int{1, 2, 4, 5} {
		if text[i] < '0' || text[i] > '9' {
			return 0, false
		}
	}
	hours, minutes := twoDigits(text[1:]), twoDigits(text[4:])
	if hours > 23 || minutes > 59 {
		return 0, false
	}
	offset = time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	if text[0] == '-' {
		offset = -offset
	}
	return offset, true
}
