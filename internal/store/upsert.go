package store

import (
	"cmp"
	"context"

	"github.com/jackc/pgx/v5"

	"processor/db"
	"processor/internal/position"
)

// upsert sends one statement for the first occurrence of each key, one for the second, and so
// on, all in one round trip and, since there is one Sync, one implicit transaction.
func (w *Writer) upsert(ctx context.Context, conn *pgx.Conn, rows []int32) (inserted, merged int, err error) {
	results := db.New(conn).UpsertPositions(ctx, w.split(rows))
	results.QueryRow(func(_ int, row db.UpsertPositionsRow, rowErr error) {
		inserted += int(row.Inserted)
		merged += int(row.Merged)
		err = cmp.Or(err, rowErr)
	})
	// The transaction commits after the last statement's result: only Close knows how that went.
	return inserted, merged, cmp.Or(err, results.Close())
}

// split fills the statements' arrays. Equal keys are neighbours in rows.
func (w *Writer) split(rows []int32) []db.UpsertPositionsParams {
	for i := range w.statements {
		resetStatement(&w.statements[i])
	}
	used, repeat := 0, 0
	for i, row := range rows {
		p := &w.batch.Positions[row]
		if i > 0 && compareKeys(&w.batch.Positions[rows[i-1]], p) == 0 {
			repeat++
		} else {
			repeat = 0
		}
		if repeat == len(w.statements) {
			w.statements = append(w.statements, db.UpsertPositionsParams{})
		}
		used = max(used, repeat+1)
		appendRow(&w.statements[repeat], p)
	}
	return w.statements[:used]
}

// UpsertParams returns the arguments of an upsert of one position.
func UpsertParams(p *position.Position) db.UpsertPositionsParams {
	var params db.UpsertPositionsParams
	appendRow(&params, p)
	return params
}

func resetStatement(s *db.UpsertPositionsParams) {
	s.DeviceID = s.DeviceID[:0]
	s.Ts = s.Ts[:0]
	s.Latitude = s.Latitude[:0]
	s.Longitude = s.Longitude[:0]
	s.Altitude = s.Altitude[:0]
	s.Angle = s.Angle[:0]
	s.Speed = s.Speed[:0]
	s.Satellites = s.Satellites[:0]
	s.Priority = s.Priority[:0]
	clear(s.Attributes) // else it would keep the last batch's memory
	s.Attributes = s.Attributes[:0]
}

func appendRow(s *db.UpsertPositionsParams, p *position.Position) {
	s.DeviceID = append(s.DeviceID, p.DeviceID)
	s.Ts = append(s.Ts, p.Timestamp)
	s.Latitude = append(s.Latitude, p.Latitude)
	s.Longitude = append(s.Longitude, p.Longitude)
	s.Altitude = append(s.Altitude, p.Altitude)
	s.Angle = append(s.Angle, p.Angle)
	s.Speed = append(s.Speed, p.Speed)
	s.Satellites = append(s.Satellites, int16(p.Satellites))
	s.Priority = append(s.Priority, int16(p.Priority))
	s.Attributes = append(s.Attributes, p.Attributes)
}
