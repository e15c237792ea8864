package observe

import (
	"math"

	dto "github.com/prometheus/client_model/go"
)

// Histogram is a Prometheus histogram at one moment, or the difference of two moments. The zero value has
// no observations.
type Histogram struct {
	bounds []float64 // upper bounds of the buckets, rising, without +Inf
	counts []uint64  // cumulative, as Prometheus counts: observations up to the bound
	total  uint64
}

// ReadHistogram reads a histogram as a registry or a scrape gives it.
func ReadHistogram(from *dto.Histogram) Histogram {
	h := Histogram{total: from.GetSampleCount()}
	for _, bucket := range from.GetBucket() {
		if !math.IsInf(bucket.GetUpperBound(), 1) { // a scrape has it, a registry has not
			h.bounds = append(h.bounds, bucket.GetUpperBound())
			h.counts = append(h.counts, bucket.GetCumulativeCount())
		}
	}
	return h
}

// Add adds the counts of a histogram with the same bounds. The zero value takes any.
func (h Histogram) Add(other Histogram) Histogram {
	if h.counts == nil {
		return other
	}
	sum := Histogram{bounds: h.bounds, counts: make([]uint64, len(h.counts)), total: h.total + other.total}
	for i := range h.counts {
		sum.counts[i] = h.counts[i] + other.counts[i]
	}
	return sum
}

// Since returns what was observed after before was taken. The zero value is before everything.
func (h Histogram) Since(before Histogram) Histogram {
	if before.counts == nil {
		return h
	}
	diff := Histogram{bounds: h.bounds, counts: make([]uint64, len(h.counts)), total: h.total - before.total}
	for i := range h.counts {
		diff.counts[i] = h.counts[i] - before.counts[i]
	}
	return diff
}

// Quantile estimates the value below which the share q of the observations lies, by the rules of
// PromQL's histogram_quantile: they are spread evenly within a bucket, the first bucket begins at 0, and
// of what is beyond the last bound only that bound is known. NaN without observations.
func (h Histogram) Quantile(q float64) float64 {
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
