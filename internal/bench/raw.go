package bench

import (
	"context"
	"fmt"
)

// Figures of raw COPY, beside those of each number of connections.
const (
	rawRate        figure = "raw_positions_per_second"
	rawPostgresCPU figure = "raw_postgres_cpu_us_per_position"
)

func rawRateWith(connections int) figure {
	return figure(fmt.Sprintf("raw_%d_connections_positions_per_second", connections))
}

func rawPostgresCPUWith(connections int) figure {
	return figure(fmt.Sprintf("raw_%d_connections_postgres_cpu_us_per_position", connections))
}

// rawConnections returns the numbers of connections with which COPY is measured.
func rawConnections() []int { return []int{1, 2, 4} }

func rawScenario() scenario {
	return scenario{
		name: "raw", usual: true,
		about: "positions go from memory by COPY over 1, 2 and 4 connections: the limit of the database",
		run:   (*runner).raw,
		figures: func(Options) (d []definition) {
			for _, n := range rawConnections() {
				d = append(d, definition{figure: rawRateWith(n), label: fmt.Sprintf("raw COPY, connections: %d", n), unit: "positions/s"})
			}
			return append(d,
				definition{figure: rawRate, label: "raw COPY, best of these", unit: "positions/s"},
				definition{figure: rawPostgresCPU, label: "  PostgreSQL CPU", unit: "us/position", decimals: 2},
			)
		},
	}
}

// raw measures COPY of the rows from memory, without Redis and worker.
func (r *runner) raw(ctx context.Context, m measurements) error {
	load, err := r.loaded(ctx)
	if err != nil {
		return err
	}
	for _, connections := range rawConnections() {
		if err := r.empty(ctx); err != nil {
			return err
		}
		r.rows = r.opts.Positions
		before, err := r.servers.cpu()
		if err != nil {
			return err
		}
		took, err := r.database.copy(ctx, &load.rows, connections)
		if err != nil {
			return err
		}
		after, err := r.servers.cpu()
		if err != nil {
			return err
		}
		m[rawRateWith(connections)] = float64(r.opts.Positions) / took.Seconds()
		m.set(rawPostgresCPUWith(connections), (after.postgres-before.postgres)*micro/float64(r.opts.Positions))
		r.log.Printf("  %d connections: %.0f positions/s", connections, m[rawRateWith(connections)])
	}
	return nil
}

// compareWithRaw finds the number of connections with which raw COPY was fastest, 0 if it was not measured, and adds the
// figures that follow from it. The ratio is computed per round, because the noise of the machine varies between rounds.
func compareWithRaw(rounds []measurements) (best int) {
	bestRate := 0.0
	for _, connections := range rawConnections() {
		values := valuesOf(rawRateWith(connections), rounds)
		if len(values) == 0 {
			continue
		}
		if rate := median(values); rate > bestRate {
			best, bestRate = connections, rate
		}
	}
	if best == 0 {
		return 0
	}
	for _, m := range rounds {
		m.copy(rawRateWith(best), rawRate)
		m.copy(rawPostgresCPUWith(best), rawPostgresCPU)
		m.divide(pipelineRate, rawRate, ratio)
	}
	return best
}
