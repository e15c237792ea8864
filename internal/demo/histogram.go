package demo

import "math"

// histogram is a Prometheus histogram at one moment, or the difference of two moments.
type histogram struct {
	bounds []float64 // upper bounds of the buckets, rising, without +Inf
	counts []uint64  // cumulative, as Prometheus counts: observations up to the bound
	total  uint64
}

// add adds the counts of a histogram with the same bounds. The zero value takes any.
func (h histogram) add(other histogram) histogram {
	if h.counts == nil {
		return other
	}
	sum := histogram{bounds: h.bounds, counts: make([]uint64, len(h.counts)), total: h.total + other.total}
	for i := range h.counts {
		sum.counts[i] = h.counts[i] + other.counts[i]
	}
	return sum
}

// since returns what was observed after before was taken. The zero value is before everything.
func (h histogram) since(before histogram) histogram {
	if before.counts == nil {
		return h
	}
	diff := histogram{bounds: h.bounds, counts: make([]uint64, len(h.counts)), total: h.total - before.total}
	for i := range h.counts {
		diff.counts[i] = h.counts[i] - before.counts[i]
	}
	return diff
}

// quantile estimates the value below which the share q of the observations lies, by the rules of
// PromQL's histogram_quantile: they are spread evenly within a bucket, the first bucket begins at 0, and
// of what is beyond the last bound only that bound is known. NaN without observations.
func (h histogram) quantile(q float64) float64 {
	if h.total == 0 {
		return math.NaN()
	}
	rank := q * float64(h.total)
	lower, below := 0.0, 0.0
	for i, bound := range h.bounds {
		upTo := float64(h.counts[i])
		if upTo >= rank && upTo > below {
			return lower + (bound-lower)*(rank-below)/(upTo-below)
		}
		lower, below = bound, upTo
	}
	return lower
}
