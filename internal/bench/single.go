package bench

import "context"

const (
	// singleRate is in entries per second: low enough that the system is idle between two entries.
	singleRate = 10
	// singleWarmUp is the number of single entries before the measurement.
	singleWarmUp = 10
)

// Figures of single entries.
const (
	singleP50 figure = "single_p50_ms"
	singleP99 figure = "single_p99_ms"
)

func singleScenario() scenario {
	return scenario{
		name: "single", usual: true,
		about: "single positions arrive at an idle system, 10 a second",
		run:   (*runner).single,
		figures: func(Options) []definition {
			return []definition{
				{figure: singleP50, label: "single entry when idle, p50", unit: "ms", decimals: 1, target: atMost(1.6)},
				{figure: singleP99, label: "single entry when idle, p99", unit: "ms", decimals: 1, target: atMost(10)},
			}
		},
	}
}

// single measures the time from XADD to commit of entries that arrive while the system is idle.
func (r *runner) single(ctx context.Context, m measurements) error {
	o, err := r.observe(ctx, "single", singleRate, singleWarmUp, r.opts.SingleEntries)
	if err != nil {
		return err
	}
	delay := o.after.delay.Since(o.before.delay)
	m.set(singleP50, delay.Quantile(0.5)*milli)
	m.set(singleP99, delay.Quantile(0.99)*milli)
	r.log.Printf("  p50 %.1f ms, p99 %.1f ms", m[singleP50], m[singleP99])
	return r.expectRows(ctx)
}
