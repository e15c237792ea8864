// Package histogram computes quantiles of Prometheus histograms, for the commands demo and bench.
package histogram

import (
	"math"

	dto "github.com/prometheus/client_model/go"
)

// Histogram is a Prometheus histogram at one moment, or the difference between two moments. The zero value
// has no observations. Histograms are values: methods do not change their operands.
type Histogram struct {
	bounds []float64 // upper bounds of the buckets, ascending, without +Inf
	counts []uint64  // cumulative: observations up to each bound
	total  uint64
}

// Read converts a histogram that was gathered from a registry or scraped.
func Read(from *dto.Histogram) Histogram {
	h := Histogram{total: from.GetSampleCount()}
	for _, bucket := range from.GetBucket() {
		if !math.IsInf(bucket.GetUpperBound(), 1) { // present in a scrape, absent in a registry
			h.bounds = append(h.bounds, bucket.GetUpperBound())
			h.counts = append(h.counts, bucket.GetCumulativeCount())
		}
	}
	return h
}

// Add returns the sum of two histograms, which must have the same bounds unless one is the zero value.
func (h Histogram) Add(other Histogram) Histogram {
	if h.counts == nil {
		return other
	}
	if other.counts == nil {
		return h
	}
	sum := Histogram{bounds: h.bounds, counts: make([]uint64, len(h.counts)), total: h.total + other.total}
	for i := range h.counts {
		sum.counts[i] = h.counts[i] + other.counts[i]
	}
	return sum
}

// Since returns the observations after before was taken. The zero value of before means from the start.
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

// Quantile estimates the quantile q, 0 to 1, like PromQL's histogram_quantile: observations are assumed to be
// evenly distributed within a bucket, the first bucket begins at 0, and the result is at most the last bound.
// It returns NaN if there are no observations.
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
