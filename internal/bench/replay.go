package bench

import "context"

// Figures of the replay.
const (
	replayRate        figure = "replay_positions_per_second"
	replayWorkerCPU   figure = "replay_worker_cpu_us_per_position"
	replayPostgresCPU figure = "replay_postgres_cpu_us_per_position"
)

func replayScenario() scenario {
	return scenario{
		name:  "replay",
		about: "the same streams are drained when all rows exist",
		run:   (*runner).replay,
		figures: func(Options) []definition {
			return []definition{
				{figure: replayRate, label: "replay, all rows exist", unit: "positions/s"},
				{figure: replayWorkerCPU, label: "  worker CPU", unit: "us/position", decimals: 2},
				{figure: replayPostgresCPU, label: "  PostgreSQL CPU", unit: "us/position", decimals: 2, target: atMost(15)},
			}
		},
	}
}

// replay fills the table by COPY, so that it needs no drain before it, and measures a drain of the same positions.
func (r *runner) replay(ctx context.Context, m measurements) error {
	load, err := r.filled(ctx)
	if err != nil {
		return err
	}
	d, err := r.drainAgain(ctx, load.streams)
	if err != nil {
		return err
	}
	m.set(replayRate, d.rate)
	m.set(replayWorkerCPU, d.workerCPU)
	m.set(replayPostgresCPU, d.postgresCPU)
	r.log.Printf("  %.0f positions/s", d.rate)
	return r.expectRows(ctx)
}

// drainAgain is drainStreams for positions whose rows exist.
func (r *runner) drainAgain(ctx context.Context, streams []string) (drained, error) {
	rows := r.rows
	d, err := r.drainStreams(ctx, streams)
	r.rows = rows
	return d, err
}

// filled leaves the rows of the load in the table, and no others, and returns the load.
func (r *runner) filled(ctx context.Context) (*load, error) {
	load, err := r.loaded(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.empty(ctx); err != nil {
		return nil, err
	}
	r.rows = r.opts.Positions
	_, err = r.database.copy(ctx, &load.rows, 1)
	return load, err
}
