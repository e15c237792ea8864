// Package inspect asks a database the questions of status, trace, doctor and the dry run of a replay, and changes
// nothing in it.
package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"processor/db"
	"processor/internal/position"
	"processor/internal/schema"
	"processor/internal/store"
)

// Inspector asks a database about itself and leaves everything as it is. It has one connection
// and uses no prepared statements, so that it works through any pooler. Not safe for concurrent
// use.
type Inspector struct {
	conn    *pgx.Conn
	queries *db.Queries
	// mode is how the URL has statements sent, which Inspector does not do.
	mode pgx.QueryExecMode
}

// Connect connects to a database. The caller closes the Inspector.
func Connect(ctx context.Context, databaseURL string) (*Inspector, error) {
	pool, err := schema.Config(databaseURL)
	if err != nil {
		return nil, err
	}
	config := pool.ConnConfig
	mode := config.DefaultQueryExecMode
	config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	conn, err := schema.Connect(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	return newInspector(conn, mode), nil
}

func newInspector(conn *pgx.Conn, mode pgx.QueryExecMode) *Inspector {
	return &Inspector{conn: conn, queries: db.New(conn), mode: mode}
}

// Close closes the connection.
func (i *Inspector) Close(ctx context.Context) error { return i.conn.Close(ctx) }

// Server is what a session is told about its server.
type Server struct {
	// VersionNum is server_version_num: 150004 is 15.4.
	VersionNum int
	Version    string
	// Standby: in recovery, so that it takes no writes.
	Standby bool
	// ReadOnly: transactions of this session are, for whatever reason.
	ReadOnly bool
	// SynchronousCommit and Fsync decide whether a commit outlives a crash of the server.
	SynchronousCommit string
	Fsync             bool
	// FullPageWrites decides whether a crash in the middle of writing a page can be recovered from.
	FullPageWrites bool
	// ReplicationRole is session_replication_role: replica skips triggers and foreign keys.
	ReplicationRole string
	Encoding        string // of the database
	Database, Role  string
}

// Server asks for the server's version and settings.
func (i *Inspector) Server(ctx context.Context) (Server, error) {
	row, err := i.queries.InspectServer(ctx)
	if err != nil {
		return Server{}, fmt.Errorf("ask for the server's settings: %w", err)
	}
	return Server{
		VersionNum:        int(row.VersionNum),
		Version:           row.Version,
		Standby:           row.IsStandby,
		ReadOnly:          row.IsReadOnly,
		SynchronousCommit: row.SynchronousCommit,
		Fsync:             row.HasFsync,
		FullPageWrites:    row.HasFullPageWrites,
		ReplicationRole:   row.ReplicationRole,
		Encoding:          row.Encoding,
		Database:          row.Database,
		Role:              row.Role,
	}, nil
}

// Now asks for the server's clock.
func (i *Inspector) Now(ctx context.Context) (time.Time, error) {
	now, err := i.queries.InspectClock(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask PostgreSQL for its time: %w", err)
	}
	return now, nil
}

// Schema makes this session like one of the worker's and asks the catalog about it and the table positions. The
// error is a *store.SchemaError where the server cannot even answer.
func (i *Inspector) Schema(ctx context.Context) (schema.State, error) {
	if err := schema.Pin(ctx, i.conn); err != nil {
		return schema.State{}, err
	}
	return schema.Read(ctx, i.conn)
}

// Chunks is what the catalog says of the chunks of positions; zero counts for a plain table.
type Chunks struct {
	Chunks, Indexes int64
	Unlogged        int64 // emptied by PostgreSQL after a crash
	WithoutKey      int64 // without a unique index
	// LocksPerTransaction and Transactions: their product is how many locks the server is sure to have.
	LocksPerTransaction, Transactions int32
	RootBytes                         int64 // of the table itself, without the chunks
}

// Chunks asks the catalog about the chunks of positions. It takes no lock on any of them.
func (i *Inspector) Chunks(ctx context.Context) (Chunks, error) {
	row, err := i.queries.InspectChunks(ctx)
	if err != nil {
		return Chunks{}, fmt.Errorf("ask for the chunks of positions: %w", err)
	}
	return Chunks(row), nil
}

// Row is a row of positions, without its values.
type Row struct {
	DeviceID   string
	Timestamp  time.Time // of the fix
	IngestedAt time.Time // when it was written
}

// NewestOf finds, of the rows with the positions' keys, the one that was written last; nil where
// none is a row. It costs an index probe a position. Positions that are more than a day from the
// middle one are left out, so that a stray clock does not bring all chunks into it.
func (i *Inspector) NewestOf(ctx context.Context, positions []position.Position) (*Row, error) {
	if len(positions) == 0 {
		return nil, nil
	}
	sorted := slices.SortedFunc(slices.Values(positions), func(a, b position.Position) int {
		return a.Timestamp.Compare(b.Timestamp)
	})
	middle := sorted[len(sorted)/2].Timestamp
	params := db.NewestOfParams{FirstTs: middle.AddDate(0, 0, -1), LastTs: middle.AddDate(0, 0, 1)}
	for _, p := range sorted {
		if p.Timestamp.Before(params.FirstTs) || p.Timestamp.After(params.LastTs) {
			continue
		}
		params.DeviceID = append(params.DeviceID, p.DeviceID)
		params.Ts = append(params.Ts, p.Timestamp)
	}
	rows, err := i.queries.NewestOf(ctx, params)
	if err != nil {
		return nil, fmt.Errorf("look for the newest row: %w", i.explain(err, "SELECT"))
	}
	if len(rows) == 0 {
		return nil, nil
	}
	return &Row{DeviceID: rows[0].DeviceID, Timestamp: rows[0].Ts, IngestedAt: rows[0].IngestedAt}, nil
}

// RowsOf returns up to count rows of a device with fix times from first to last, both included, the newest first.
func (i *Inspector) RowsOf(ctx context.Context, device string, first, last time.Time, count int) ([]Row, error) {
	found, err := i.queries.RowsOfDevice(ctx, db.RowsOfDeviceParams{DeviceID: device, FirstTs: first, LastTs: last, Maximum: int32(count)})
	if err != nil {
		return nil, fmt.Errorf("look for rows of device %s: %w", device, i.explain(err, "SELECT"))
	}
	rows := make([]Row, len(found))
	for n, r := range found {
		rows[n] = Row{DeviceID: r.DeviceID, Timestamp: r.Ts, IngestedAt: r.IngestedAt}
	}
	return rows, nil
}

// Fix is where a device was.
type Fix struct {
	Timestamp           time.Time
	Latitude, Longitude float64
	Speed, Angle        float32
}

// TrackOf returns up to count fixes of a device with fix times from first to last, both included, the newest first.
func (i *Inspector) TrackOf(ctx context.Context, device string, first, last time.Time, count int) ([]Fix, error) {
	found, err := i.queries.TrackOfDevice(ctx, db.TrackOfDeviceParams{DeviceID: device, FirstTs: first, LastTs: last, Maximum: int32(count)})
	if err != nil {
		return nil, fmt.Errorf("look for the track of device %s: %w", device, i.explain(err, "SELECT"))
	}
	fixes := make([]Fix, len(found))
	for n, r := range found {
		fixes[n] = Fix{r.Ts, r.Latitude, r.Longitude, r.Speed, r.Angle}
	}
	return fixes, nil
}

// EstimateRows returns about how many rows positions has outside the columnstore, by PostgreSQL's statistics.
func (i *Inspector) EstimateRows(ctx context.Context) (int64, error) {
	rows, err := i.queries.EstimateRows(ctx)
	if err != nil {
		return 0, fmt.Errorf("estimate the rows of positions: %w", err)
	}
	return rows, nil
}

// Try writes the position by upsert in a transaction that it rolls back, and says what would
// become of it: exactly one of the Result's counts is 1, or it holds one Rejection, or says that
// the position would wait. An error means that the position could not be tried, and says nothing
// about it.
func (i *Inspector) Try(ctx context.Context, p *position.Position) (r store.Result, err error) {
	tx, err := i.conn.Begin(ctx)
	if err != nil {
		return store.Result{}, fmt.Errorf("try a position: %w", err)
	}
	defer func() {
		if errBack := tx.Rollback(ctx); errBack != nil && !errors.Is(errBack, pgx.ErrTxClosed) {
			err = errors.Join(err, fmt.Errorf("roll a tried position back: %w", errBack))
		}
	}()
	results := db.New(tx).UpsertPositions(ctx, []db.UpsertPositionsParams{store.UpsertParams(p)})
	results.QueryRow(func(_ int, row db.UpsertPositionsRow, rowErr error) {
		r.Inserted, r.Merged, err = int(row.Inserted), int(row.Merged), rowErr
	})
	switch {
	case err == nil:
		r.Unchanged = 1 - r.Inserted - r.Merged
		return r, nil
	case store.Classify(err) == store.BadRow:
		return store.Result{Rejected: []store.Rejection{rejection(err)}}, nil
	case store.Classify(err) == store.Limit, store.Classify(err) == store.Unexpected:
		return store.Result{Parked: []store.Parked{{Err: err}}}, nil
	default:
		return store.Result{}, fmt.Errorf("try a position: %w", i.explain(err, "SELECT", "INSERT", "UPDATE"))
	}
}

func rejection(err error) store.Rejection {
	r := store.Rejection{Class: store.BadRow, Message: err.Error()}
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		r.SQLState, r.Message = pgErr.Code, pgErr.Message
		r.Column, r.Constraint = pgErr.ColumnName, pgErr.ConstraintName
	}
	return r
}

// explain adds the hint to an error that a person must act on. needs are the rights on positions of what failed.
func (i *Inspector) explain(err error, needs ...string) error {
	if hint := schema.RightsHint(err, i.conn.Config().User, needs...); hint != "" {
		return fmt.Errorf("%w. Fix: %s", err, hint)
	}
	if hint := store.Hint(err); hint != "" {
		return fmt.Errorf("%w. Fix: %s", err, hint)
	}
	return err
}
