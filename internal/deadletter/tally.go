package deadletter

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"processor/internal/format"
)

// Tally counts letters by reason.
type Tally map[string]int

// Add counts letters.
func (t Tally) Add(page []Letter) {
	for i := range page {
		t[page[i].ReasonText()]++
	}
}

// Total is how many were counted.
func (t Tally) Total() int {
	total := 0
	for _, n := range t {
		total += n
	}
	return total
}

// String lists the reasons, the most frequent first.
func (t Tally) String() string {
	reasons := slices.SortedFunc(maps.Keys(t), func(a, b string) int { return cmp.Or(t[b]-t[a], strings.Compare(a, b)) })
	for i, reason := range reasons {
		reasons[i] = strconv.Itoa(t[reason]) + " " + format.Line(reason)
	}
	return strings.Join(reasons, ", ")
}

// ReasonText names the reason, also of what somebody else put on the dead-letter stream.
func ReasonText(reason string) string { return cmp.Or(reason, "unknown") }

// ReasonText names the letter's reason.
func (l *Letter) ReasonText() string { return ReasonText(l.Reason) }

// At is when the entry was given up. Where the letter does not say, its id does.
func (l *Letter) At() time.Time {
	if l.Time.IsZero() {
		return l.ID.Time().UTC()
	}
	return l.Time.UTC()
}
