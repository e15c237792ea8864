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

// sample holds the metrics of all workers and the CPU time of workers and servers at one moment.
type sample struct {
	allocatedBytes   float64
	allocatedObjects float64
	delay            histogram.Histogram
	workerCPU        float64 // seconds
	servers          serverCPU
}

// sample adds up the workers' metrics and CPU time.
func (r *runner) sample(ctx context.Context, ws workers) (sum sample, err error) {
	for _, w := range ws {
		s, err := w.sample(ctx)
		if err != nil {
			return sum, err
		}
		sum.allocatedBytes += s.allocatedBytes
		sum.allocatedObjects += s.allocatedObjects
		sum.delay = sum.delay.Add(s.delay)
		sum.workerCPU += s.workerCPU
	}
	sum.servers, err = r.servers.cpu()
	return sum, err
}

// sample reads the metrics and CPU time of one worker.
func (w *worker) sample(ctx context.Context) (s sample, err error) {
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
	return s, nil
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
