package bench

import "context"

// Figures of late positions.
const (
	lateRate              figure = "late_positions_per_second"
	lateWorkerCPU         figure = "late_worker_cpu_us_per_position"
	latePostgresCPU       figure = "late_postgres_cpu_us_per_position"
	lateReplayRate        figure = "late_replay_positions_per_second"
	lateReplayWorkerCPU   figure = "late_replay_worker_cpu_us_per_position"
	lateReplayPostgresCPU figure = "late_replay_postgres_cpu_us_per_position"
)

func lateScenario() scenario {
	return scenario{
		name:  "late",
		about: "positions of compressed chunks arrive: new ones, then the same again (needs TimescaleDB)",
		run:   (*runner).late,
		figures: func(Options) []definition {
			return []definition{
				{figure: lateRate, label: "late rows into compressed chunks", unit: "positions/s"},
				{figure: lateWorkerCPU, label: "  worker CPU", unit: "us/position", decimals: 2},
				{figure: latePostgresCPU, label: "  PostgreSQL CPU", unit: "us/position", decimals: 2},
				{figure: lateReplayRate, label: "late replay, all compressed", unit: "positions/s"},
				{figure: lateReplayWorkerCPU, label: "  worker CPU", unit: "us/position", decimals: 2},
				{figure: lateReplayPostgresCPU, label: "  PostgreSQL CPU", unit: "us/position", decimals: 2},
			}
		},
		needs: func(ctx context.Context, r *runner) (string, error) {
			has, err := r.database.hasColumnstore(ctx)
			if err != nil || has {
				return "", err
			}
			return "needs TimescaleDB with its community licence", nil
		},
	}
}

// late compresses the rows of the load and drains positions of the same devices and days, half an interval after each of
// the load's. Then it compresses everything and drains these positions again.
func (r *runner) late(ctx context.Context, m measurements) error {
	if _, err := r.filled(ctx); err != nil {
		return err
	}
	streams, err := r.lateStreams(ctx)
	if err != nil {
		return err
	}
	if err := r.database.compress(ctx); err != nil {
		return err
	}
	fresh, err := r.drainStreams(ctx, streams)
	if err != nil {
		return err
	}
	m.set(lateRate, fresh.rate)
	m.set(lateWorkerCPU, fresh.workerCPU)
	m.set(latePostgresCPU, fresh.postgresCPU)
	if err := r.database.compress(ctx); err != nil {
		return err
	}
	again, err := r.drainAgain(ctx, streams)
	if err != nil {
		return err
	}
	m.set(lateReplayRate, again.rate)
	m.set(lateReplayWorkerCPU, again.workerCPU)
	m.set(lateReplayPostgresCPU, again.postgresCPU)
	r.log.Printf("  new rows: %.0f positions/s, rows that exist: %.0f positions/s", fresh.rate, again.rate)
	return r.expectRows(ctx)
}
