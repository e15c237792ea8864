package bench

import (
	"context"
	"fmt"
	"math"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Names of the worker's metrics that the benchmark reads.
const (
	metricAllocatedBytes   = "go_memstats_alloc_bytes_total"
	metricAllocatedObjects = "go_memstats_mallocs_total"
	metricEntryDelay       = "processor_entry_delay_seconds"
)

// sample is the worker's metrics at one moment, and the CPU time of everybody.
type sample struct {
	allocatedBytes   float64
	allocatedObjects float64
	delay            histogram
	workerCPU        float64 // seconds
	servers          serverCPU
}

func (r *runner) sample(ctx context.Context, w *worker) (s sample, err error) {
	body, err := w.get(ctx, "/metrics")
	if err != nil {
		return s, fmt.Errorf("read the worker's metrics: %w", err)
	}
	defer body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(body)
	if err != nil {
		return s, fmt.Errorf("parse the worker's metrics: %w", err)
	}
	if s.allocatedBytes, err = counter(families, metricAllocatedBytes); err != nil {
		return s, err
	}
	if s.allocatedObjects, err = counter(families, metricAllocatedObjects); err != nil {
		return s, err
	}
	if s.delay, err = newHistogram(families, metricEntryDelay); err != nil {
		return s, err
	}
	if s.workerCPU, err = cpuSeconds(w.cmd.Process.Pid); err != nil {
		return s, fmt.Errorf("CPU time of the worker: %w", err)
	}
	s.servers, err = r.servers.cpu()
	return s, err
}

func counter(families map[string]*dto.MetricFamily, name string) (float64, error) {
	metrics := families[name].GetMetric()
	if len(metrics) != 1 {
		return 0, fmt.Errorf("the worker has no metric %s", name)
	}
	return metrics[0].GetCounter().GetValue(), nil
}

// histogram is a Prometheus histogram: how many observations were at most each bound.
type histogram struct {
	bounds []float64 // ascending, the last +Inf
	counts []float64 // cumulative
}

func newHistogram(families map[string]*dto.MetricFamily, name string) (histogram, error) {
	var h histogram
	metrics := families[name].GetMetric()
	if len(metrics) != 1 {
		return h, fmt.Errorf("the worker has no histogram %s", name)
	}
	for _, bucket := range metrics[0].GetHistogram().GetBucket() {
		h.bounds = append(h.bounds, bucket.GetUpperBound())
		h.counts = append(h.counts, float64(bucket.GetCumulativeCount()))
	}
	return h, nil
}

// since returns what was observed after an earlier sample of the same histogram.
func (h histogram) since(earlier histogram) histogram {
	d := histogram{bounds: h.bounds, counts: make([]float64, len(h.counts))}
	for i := range d.counts {
		d.counts[i] = h.counts[i] - earlier.counts[i]
	}
	return d
}

// quantile estimates the q-quantile as Prometheus's histogram_quantile does: linear within the
// bucket. It is NaN without observations, and the largest bound for what lies beyond that.
func (h histogram) quantile(q float64) float64 {
	total := h.total()
	if total == 0 {
		return math.NaN()
	}
	rank := q * total
	lower, below := 0.0, 0.0
	for i, bound := range h.bounds {
		switch {
		case h.counts[i] < rank || h.counts[i] == below:
			lower, below = bound, h.counts[i]
		case math.IsInf(bound, 1):
			return lower
		default:
			return lower + (bound-lower)*(rank-below)/(h.counts[i]-below)
		}
	}
	return lower
}

func (h histogram) total() float64 {
	if len(h.counts) == 0 {
		return 0
	}
	return h.counts[len(h.counts)-1]
}
