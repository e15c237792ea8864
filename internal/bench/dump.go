package bench

import (
	"context"
	"time"
)

// Figures of live positions beside a dump.
const (
	dumpRate    figure = "dump_positions_per_second"
	dumpLiveP50 figure = "dump_live_p50_ms"
	dumpLiveP99 figure = "dump_live_p99_ms"
	dumpLiveMax figure = "dump_live_max_ms"
)

func dumpScenario() scenario {
	return scenario{
		name:  "dump",
		about: "one device sends --dump-positions old positions, a second apart, beside a live flow",
		run:   (*runner).dump,
		figures: func(Options) []definition {
			return []definition{
				{figure: dumpRate, label: "dump of one device", unit: "positions/s"},
				{figure: dumpLiveP50, label: "  live rows, XADD to commit, p50", unit: "ms", decimals: 1},
				{figure: dumpLiveP99, label: "  live rows, p99", unit: "ms", decimals: 1},
				{figure: dumpLiveMax, label: "  live rows, maximum", unit: "ms", decimals: 1},
			}
		},
		needs: ownDatabaseNeeded,
	}
}

// dump measures the delay of live positions beside a device that sends all that it kept while it had no coverage.
func (r *runner) dump(ctx context.Context, m measurements) error {
	d, err := r.beside(ctx, "dump", disturbance{positions: r.opts.DumpPositions, step: time.Second})
	if err != nil {
		return err
	}
	m.set(dumpRate, float64(r.opts.DumpPositions)/d.seconds)
	m.set(dumpLiveP50, d.p50)
	m.set(dumpLiveP99, d.p99)
	m.set(dumpLiveMax, d.longest)
	r.log.Printf("  %.1f s; %d live positions: p50 %.1f ms, p99 %.1f ms, maximum %.1f ms", d.seconds, d.live, d.p50, d.p99, d.longest)
	return nil
}
