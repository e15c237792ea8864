package bench

import (
	"context"
	"fmt"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"processor/internal/histogram"
)

// Names of the worker's metrics that the benchmark reads.
const (
	metricAllocatedBytes   = "go_memstats_alloc_bytes_total"
	metricAllocatedObjects = "go_memstats_mallocs_total"
	metricEntryDelay       = "processor_entry_delay_seconds"
)

// sample holds the worker's metrics and the CPU time of worker and servers at one moment.
type sample struct {
	allocatedBytes   float64
	allocatedObjects float64
	delay            histogram.Histogram
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
	if s.allocatedBytes, err = counterOf(families, metricAllocatedBytes); err != nil {
		return s, err
	}
	if s.allocatedObjects, err = counterOf(families, metricAllocatedObjects); err != nil {
		return s, err
	}
	if s.delay, err = histogramOf(families, metricEntryDelay); err != nil {
		return s, err
	}
	if s.workerCPU, err = cpuSeconds(w.cmd.Process.Pid); err != nil {
		return s, fmt.Errorf("CPU time of the worker: %w", err)
	}
	s.servers, err = r.servers.cpu()
	return s, err
}

func counterOf(families map[string]*dto.MetricFamily, name string) (float64, error) {
	metrics := families[name].GetMetric()
	if len(metrics) != 1 {
		return 0, fmt.Errorf("the worker has no metric %s", name)
	}
	return metrics[0].GetCounter().GetValue(), nil
}

func histogramOf(families map[string]*dto.MetricFamily, name string) (histogram.Histogram, error) {
	metrics := families[name].GetMetric()
	if len(metrics) != 1 {
		return histogram.Histogram{}, fmt.Errorf("the worker has no histogram %s", name)
	}
	return histogram.Read(metrics[0].GetHistogram()), nil
}
