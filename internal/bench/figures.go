package bench

import (
	"fmt"
	"math"
	"slices"
)

// figure is the name of a measured value, as in the JSON report.
type figure string

// definition holds the label, unit, number of decimals and target of a figure.
type definition struct {
	figure   figure
	label    string
	unit     string
	decimals int
	target   Target
	hidden   bool // in JSON only
}

// Target is the accepted range of a figure. The zero value accepts any.
type Target struct {
	AtLeast float64 `json:"at_least,omitempty"`
	AtMost  float64 `json:"at_most,omitempty"`
}

func atLeast(v float64) Target { return Target{AtLeast: v} }
func atMost(v float64) Target  { return Target{AtMost: v} }

func (t Target) met(v float64) bool {
	return (t.AtLeast == 0 || v >= t.AtLeast) && (t.AtMost == 0 || v <= t.AtMost)
}

// String returns the target as a comparison, such as "<= 4".
func (t Target) String() string {
	if t.AtMost != 0 {
		return fmt.Sprintf("<= %v", t.AtMost)
	}
	return fmt.Sprintf(">= %v", t.AtLeast)
}

// measurements are the figures of one round. A figure that was not measured is absent.
type measurements map[figure]float64

// set stores a figure, unless it is NaN or infinite: the CPU of a given server is not known.
func (m measurements) set(f figure, v float64) {
	if !math.IsNaN(v) && !math.IsInf(v, 0) {
		m[f] = v
	}
}

// copy stores a figure under another name, too, if it was measured.
func (m measurements) copy(from, to figure) {
	if v, ok := m[from]; ok {
		m[to] = v
	}
}

// divide stores the quotient of two figures, if both were measured.
func (m measurements) divide(dividend, divisor, to figure) {
	v, ok := m[dividend]
	if by, measured := m[divisor]; ok && measured {
		m.set(to, v/by)
	}
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
