package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"processor/internal/histogram"
	"processor/internal/observe"
)

// figures are what a worker counts since it was started.
type figures struct {
	ledger       observe.LedgerSnapshot
	write, delay histogram.Histogram
}

func (f figures) plus(other figures) figures {
	return figures{
		ledger: observe.LedgerSnapshot{
			Read:         f.ledger.Read + other.ledger.Read,
			Inserted:     f.ledger.Inserted + other.ledger.Inserted,
			Merged:       f.ledger.Merged + other.ledger.Merged,
			Unchanged:    f.ledger.Unchanged + other.ledger.Unchanged,
			DeadLettered: f.ledger.DeadLettered + other.ledger.DeadLettered,
			InFlight:     f.ledger.InFlight + other.ledger.InFlight,
		},
		write: f.write.Add(other.write),
		delay: f.delay.Add(other.delay),
	}
}

// history adds the figures of workers that followed one another. What a killed worker counted after its last
// reading is not in it.
type history struct {
	past, last figures
	start      int // of the worker that last belongs to
}

// add returns the sum after a reading of the worker with this number.
func (h *history) add(start int, f figures) figures {
	if start != h.start {
		h.past = h.past.plus(h.last)
		h.past.ledger.InFlight = 0 // read again by the next worker
	}
	h.start, h.last = start, f
	return h.sum()
}

func (h *history) sum() figures { return h.past.plus(h.last) }

// scraper reads a worker's HTTP endpoints.
type scraper struct {
	client http.Client
	url    string
}

func newScraper(addr string) *scraper {
	return &scraper{client: http.Client{Transport: &http.Transport{}, Timeout: time.Second}, url: "http://" + addr}
}

// get calls read with the body of a response with one of the statuses.
func (s *scraper) get(ctx context.Context, path string, read func(io.Reader) error, statuses ...int) (err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		return err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	for _, status := range statuses {
		if response.StatusCode == status {
			return read(response.Body)
		}
	}
	return fmt.Errorf("GET %s: %s", path, response.Status)
}

// figures reads /metrics.
func (s *scraper) figures(ctx context.Context) (f figures, err error) {
	err = s.get(ctx, "/metrics", func(body io.Reader) error {
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(body)
		f = figuresOf(families)
		return err
	}, http.StatusOK)
	return f, during("read the worker's metrics", err)
}

func figuresOf(families map[string]*dto.MetricFamily) (f figures) {
	for _, m := range families["processor_entries_read_total"].GetMetric() {
		f.ledger.Read += uint64(m.GetCounter().GetValue())
	}
	for _, m := range families["processor_positions_total"].GetMetric() {
		n := uint64(m.GetCounter().GetValue())
		switch m.GetLabel()[0].GetValue() {
		case observe.Inserted.String():
			f.ledger.Inserted = n
		case observe.Merged.String():
			f.ledger.Merged = n
		case observe.Unchanged.String():
			f.ledger.Unchanged = n
		case observe.DeadLettered.String():
			f.ledger.DeadLettered = n
		}
	}
	for _, m := range families["processor_entries_in_flight"].GetMetric() {
		f.ledger.InFlight = uint64(m.GetGauge().GetValue())
	}
	for _, m := range families["processor_batch_write_seconds"].GetMetric() { // one for each write path
		f.write = f.write.Add(histogram.Read(m.GetHistogram()))
	}
	for _, m := range families["processor_entry_delay_seconds"].GetMetric() {
		f.delay = f.delay.Add(histogram.Read(m.GetHistogram()))
	}
	return f
}

// readiness reads /readyz.
func (s *scraper) readiness(ctx context.Context) (r observe.Readiness, err error) {
	err = s.get(ctx, "/readyz", func(body io.Reader) error {
		return json.NewDecoder(body).Decode(&r)
	}, http.StatusOK, http.StatusServiceUnavailable)
	return r, during("read the worker's readiness", err)
}

func (s *scraper) close() { s.client.CloseIdleConnections() }
