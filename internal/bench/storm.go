package bench

import (
	"context"
	"time"
)

// Figures of live positions beside a storm.
const (
	stormSeconds figure = "storm_seconds"
	stormLiveP50 figure = "storm_live_p50_ms"
	stormLiveP99 figure = "storm_live_p99_ms"
	stormLiveMax figure = "storm_live_max_ms"
)

func stormScenario() scenario {
	return scenario{
		name:  "storm",
		about: "one device sends --storm-days positions, each of another day, beside a live flow",
		run:   (*runner).storm,
		figures: func(Options) []definition {
			return []definition{
				{figure: stormSeconds, label: "storm of one device, until stored", unit: "s", decimals: 1},
				{figure: stormLiveP50, label: "  live rows, XADD to commit, p50", unit: "ms", decimals: 1},
				{figure: stormLiveP99, label: "  live rows, p99", unit: "ms", decimals: 1},
				{figure: stormLiveMax, label: "  live rows, maximum", unit: "ms", decimals: 1, target: atMost(2000)},
			}
		},
		needs: ownDatabaseNeeded,
	}
}

// storm measures the delay of live positions beside a device whose positions each need a chunk that does not exist.
func (r *runner) storm(ctx context.Context, m measurements) error {
	d, err := r.beside(ctx, "storm", disturbance{positions: r.opts.StormDays, step: 24 * time.Hour})
	if err != nil {
		return err
	}
	m.set(stormSeconds, d.seconds)
	m.set(stormLiveP50, d.p50)
	m.set(stormLiveP99, d.p99)
	m.set(stormLiveMax, d.longest)
	r.log.Printf("  %.1f s; %d live positions: p50 %.1f ms, p99 %.1f ms, maximum %.1f ms", d.seconds, d.live, d.p50, d.p99, d.longest)
	return nil
}
