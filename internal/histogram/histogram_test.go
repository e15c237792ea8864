package histogram

import (
	"bytes"
	"math"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
)

func TestHistogram_Quantile(t *testing.T) {
	bounds := []float64{1, 2, 4}
	tests := map[string]struct {
		histogram Histogram
		q, want   float64
	}{
		"evenly spread in the first bucket":   {Histogram{bounds, []uint64{10, 10, 10}, 10}, 0.5, 0.5},
		"evenly spread in a later bucket":     {Histogram{bounds, []uint64{0, 0, 10}, 10}, 0.25, 2.5},
		"at the edge of a bucket":             {Histogram{bounds, []uint64{5, 10, 10}, 10}, 0.5, 1},
		"beyond an empty bucket":              {Histogram{bounds, []uint64{5, 5, 10}, 10}, 0.6, 2.4},
		"all of it":                           {Histogram{bounds, []uint64{1, 2, 3}, 3}, 1, 4},
		"beyond the last bound":               {Histogram{bounds, []uint64{1, 1, 1}, 10}, 0.99, 4},
		"everything is beyond the last bound": {Histogram{bounds, []uint64{0, 0, 0}, 10}, 0, 4},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			require.InDelta(t, test.want, test.histogram.Quantile(test.q), 1e-12)
		})
	}
	require.True(t, math.IsNaN(Histogram{}.Quantile(0.5)))
	require.True(t, math.IsNaN(Histogram{bounds, []uint64{0, 0, 0}, 0}.Quantile(0.5)))
}

func TestHistogram_AddAndSince(t *testing.T) {
	bounds := []float64{1, 2}
	before := Histogram{bounds, []uint64{1, 2}, 3}
	after := Histogram{bounds, []uint64{1, 5}, 7}

	require.Equal(t, Histogram{bounds, []uint64{2, 7}, 10}, before.Add(after))
	require.Equal(t, Histogram{bounds, []uint64{0, 3}, 4}, after.Since(before))
	require.Equal(t, before, Histogram{}.Add(before))
	require.Equal(t, after, after.Since(Histogram{}))
	require.Equal(t, Histogram{bounds, []uint64{1, 2}, 3}, before, "operands are unchanged")
}

func TestRead_FromARegistryAndAScrape(t *testing.T) {
	reg := prometheus.NewRegistry()
	observed := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "seconds", Help: "Help.", Buckets: []float64{1, 2}})
	reg.MustRegister(observed)
	for _, v := range []float64{0.5, 1.5, 1.5, 9} {
		observed.Observe(v)
	}
	gathered, err := reg.Gather()
	require.NoError(t, err)
	var page bytes.Buffer
	_, err = expfmt.MetricFamilyToText(&page, gathered[0])
	require.NoError(t, err)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	scraped, err := parser.TextToMetricFamilies(&page)
	require.NoError(t, err)

	want := Histogram{[]float64{1, 2}, []uint64{1, 3}, 4}
	require.Equal(t, want, Read(gathered[0].GetMetric()[0].GetHistogram()))
	require.Equal(t, want, Read(scraped["seconds"].GetMetric()[0].GetHistogram()))
}
