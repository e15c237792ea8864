package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"processor/internal/position"
	"processor/sql"
)

// readingsTable is the table that sql.Readings creates.
const readingsTable = "readings"

// Figures of positions and, beside them, of the rows of TSBS.
const (
	positionsTableBytes figure = "positions_table_bytes_per_row"
	positionsIndexBytes figure = "positions_index_bytes_per_row"
	positionsCPU        figure = "positions_postgres_cpu_us_per_row"
	readingsRate        figure = "readings_rows_per_second"
	readingsCPU         figure = "readings_postgres_cpu_us_per_row"
	readingsTableBytes  figure = "readings_table_bytes_per_row"
	readingsIndexBytes  figure = "readings_index_bytes_per_row"
)

func readingsScenario() scenario {
	return scenario{
		name:  "readings",
		about: "as many rows go by COPY into positions and into the readings of TSBS: bytes and CPU",
		run:   (*runner).readings,
		figures: func(Options) []definition {
			return []definition{
				{figure: positionsCPU, label: "positions, PostgreSQL CPU", unit: "us/row", decimals: 2},
				{figure: positionsTableBytes, label: "  table", unit: "B/row"},
				{figure: positionsIndexBytes, label: "  index", unit: "B/row"},
				{figure: readingsRate, label: "TSBS readings, COPY", unit: "rows/s"},
				{figure: readingsCPU, label: "  PostgreSQL CPU", unit: "us/row", decimals: 2},
				{figure: readingsTableBytes, label: "  table", unit: "B/row"},
				{figure: readingsIndexBytes, label: "  indexes", unit: "B/row"},
			}
		},
		needs: ownDatabaseNeeded,
	}
}

// copied holds the figures of one COPY. CPU is in microseconds.
type copied struct {
	rate, postgresCPU      float64
	tableBytes, indexBytes float64
}

// readings measures COPY of the positions into their table and into that of TSBS.
func (r *runner) readings(ctx context.Context, m measurements) error {
	load, err := r.loaded(ctx)
	if err != nil {
		return err
	}
	if err := r.empty(ctx); err != nil {
		return err
	}
	r.rows = r.opts.Positions
	ours, err := r.measureCopy(ctx, "positions", func() (time.Duration, error) {
		return r.database.copy(ctx, &load.rows, 1)
	})
	if err != nil {
		return err
	}
	if err := r.database.createReadings(ctx); err != nil {
		return err
	}
	theirs, err := r.measureCopy(ctx, readingsTable, func() (time.Duration, error) {
		return r.database.copyReadings(ctx, readingsOf(load.rows.batches))
	})
	if err != nil {
		return err
	}
	m.set(positionsCPU, ours.postgresCPU)
	m.set(positionsTableBytes, ours.tableBytes)
	m.set(positionsIndexBytes, ours.indexBytes)
	m.set(readingsRate, theirs.rate)
	m.set(readingsCPU, theirs.postgresCPU)
	m.set(readingsTableBytes, theirs.tableBytes)
	m.set(readingsIndexBytes, theirs.indexBytes)
	r.log.Printf("  positions: %.0f B/row, readings: %.0f B/row", ours.tableBytes+ours.indexBytes, theirs.tableBytes+theirs.indexBytes)
	return r.expectRows(ctx)
}

// measureCopy measures a COPY of opts.Positions rows into a table that was empty.
func (r *runner) measureCopy(ctx context.Context, table string, copyRows func() (time.Duration, error)) (c copied, err error) {
	before, err := r.servers.cpu()
	if err != nil {
		return c, err
	}
	took, err := copyRows()
	if err != nil {
		return c, err
	}
	after, err := r.servers.cpu()
	if err != nil {
		return c, err
	}
	heap, indexes, err := r.database.bytes(ctx, table)
	n := float64(r.opts.Positions)
	return copied{
		rate:        n / took.Seconds(),
		postgresCPU: (after.postgres - before.postgres) * micro / n,
		tableBytes:  float64(heap) / n,
		indexBytes:  float64(indexes) / n,
	}, err
}

// readingsOf returns the positions as rows of TSBS, which have a number for the device, only floating-point values and no
// bag of attributes.
func readingsOf(batches [][]position.Position) [][][]any {
	tags := make(map[string]int32)
	all := make([][][]any, len(batches))
	for i, batch := range batches {
		for j := range batch {
			p := &batch[j]
			tag, known := tags[p.DeviceID]
			if !known {
				tag = int32(len(tags) + 1)
				tags[p.DeviceID] = tag
			}
			all[i] = append(all[i], []any{
				p.Timestamp, tag, p.Latitude, p.Longitude, float64(p.Altitude), float64(p.Speed), float64(p.Angle), 0.0, 0.0,
			})
		}
	}
	return all
}

// createReadings creates the table anew. No rows of it are left from the round before.
func (d *database) createReadings(ctx context.Context) error {
	return d.connected(ctx, func(conn *pgx.Conn) error {
		_, err := conn.PgConn().Exec(ctx, sql.Readings).ReadAll()
		return err
	})
}

// copyReadings sends the rows with pgx's encoder, a transaction for each batch.
func (d *database) copyReadings(ctx context.Context, batches [][][]any) (took time.Duration, err error) {
	columns := []string{"time", "tags_id", "latitude", "longitude", "elevation", "velocity", "heading", "grade", "fuel_consumption"}
	err = d.connected(ctx, func(conn *pgx.Conn) error {
		began := time.Now()
		for _, batch := range batches {
			if _, err := conn.CopyFrom(ctx, pgx.Identifier{readingsTable}, columns, pgx.CopyFromRows(batch)); err != nil {
				return err
			}
		}
		took = time.Since(began)
		return nil
	})
	return took, err
}

func (d *database) connected(ctx context.Context, work func(*pgx.Conn) error) (err error) {
	conn, err := pgx.ConnectConfig(ctx, d.config.Copy())
	if err != nil {
		return fmt.Errorf("connect for the table readings: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	if err := work(conn); err != nil {
		return fmt.Errorf("table readings: %w", err)
	}
	return nil
}
