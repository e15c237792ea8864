package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"processor/db"
	"processor/internal/position"
	"processor/sql"
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

// Inspect connects to a database. The caller closes the Inspector.
func Inspect(ctx context.Context, databaseURL string) (*Inspector, error) {
	pool, err := poolConfig(databaseURL)
	if err != nil {
		return nil, err
	}
	config := pool.ConnConfig
	mode := config.DefaultQueryExecMode
	config.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec
	conn, err := pgx.ConnectConfig(ctx, config)
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
	// AllowsPlainTable: the session has processor.allow_plain_table = on.
	AllowsPlainTable bool
	Database, Role   string
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
		AllowsPlainTable:  row.AllowsPlainTable,
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

// Hypertable reports whether positions is a hypertable, and TimescaleDB's version, which is empty
// where the database has no TimescaleDB.
func (i *Inspector) Hypertable(ctx context.Context) (is bool, version string, err error) {
	return hypertable(ctx, i.queries)
}

func hypertable(ctx context.Context, queries *db.Queries) (is bool, version string, err error) {
	version, err = queries.TimescaleVersion(ctx)
	if err != nil {
		return false, "", fmt.Errorf("ask for TimescaleDB's version: %w", err)
	}
	if version == "" {
		return false, "", nil
	}
	is, err = queries.IsHypertable(ctx)
	if err != nil {
		return false, "", fmt.Errorf("ask whether positions is a hypertable: %w", err)
	}
	return is, version, nil
}

// Column is a column of a table, with its type as PostgreSQL spells it.
type Column struct {
	Name, Type string
	// NotNull and HasDefault: a column that has the first and not the second must be written.
	NotNull, HasDefault bool
}

// Columns lists the columns of positions; none where there is no such table.
func (i *Inspector) Columns(ctx context.Context) ([]Column, error) {
	rows, err := i.queries.InspectColumns(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for the columns of positions: %w", err)
	}
	columns := make([]Column, len(rows))
	for n, row := range rows {
		columns[n] = Column(row)
	}
	return columns, nil
}

// PrimaryKey lists the columns of the primary key of positions in order; none where it has none.
func (i *Inspector) PrimaryKey(ctx context.Context) ([]string, error) {
	names, err := i.queries.InspectPrimaryKey(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for the primary key of positions: %w", err)
	}
	return names, nil
}

// MissingRights lists which of the rights that writing needs the role lacks on positions.
func (i *Inspector) MissingRights(ctx context.Context) ([]string, error) {
	rights, err := i.queries.InspectRights(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for the rights on positions: %w", err)
	}
	var missing []string
	if !rights.CanSelect {
		missing = append(missing, "SELECT")
	}
	if !rights.CanInsert {
		missing = append(missing, "INSERT")
	}
	if !rights.CanUpdate {
		missing = append(missing, "UPDATE")
	}
	return missing, nil
}

// MissingMigrations lists the files of sql/migrations that the database does not have yet. The
// error is of class Schema where the role may not read dbmate's table (42501).
func (i *Inspector) MissingMigrations(ctx context.Context) ([]string, error) {
	applied, err := i.queries.AppliedMigrations(ctx)
	if err != nil && SQLState(err) != undefinedTable { // nothing was ever migrated
		return nil, fmt.Errorf("read %s: %w", MigrationsTable, err)
	}
	files, err := fs.Glob(sql.Migrations, "migrations/*.sql")
	if err != nil {
		return nil, fmt.Errorf("list the migrations: %w", err)
	}
	var missing []string
	for _, file := range files {
		name := strings.TrimPrefix(file, "migrations/")
		version, _, _ := strings.Cut(name, "_")
		if !slices.Contains(applied, version) {
			missing = append(missing, name)
		}
	}
	return missing, nil
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
		return nil, fmt.Errorf("look for the newest row: %w", explain(err))
	}
	if len(rows) == 0 {
		return nil, nil
	}
	return &Row{DeviceID: rows[0].DeviceID, Timestamp: rows[0].Ts, IngestedAt: rows[0].IngestedAt}, nil
}

// Try writes the position by upsert in a transaction that it rolls back, and says what would
// become of it: exactly one of the Result's counts is 1, or it holds one Rejection, or says that
// the position would wait. An error means that the position could not be tried, and says nothing
// about it.
func (i *Inspector) Try(ctx context.Context, p *position.Position) (r Result, err error) {
	tx, err := i.conn.Begin(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("try a position: %w", err)
	}
	defer func() {
		if errBack := tx.Rollback(ctx); errBack != nil && !errors.Is(errBack, pgx.ErrTxClosed) {
			err = errors.Join(err, fmt.Errorf("roll a tried position back: %w", errBack))
		}
	}()
	results := db.New(tx).UpsertPositions(ctx, []db.UpsertPositionsParams{UpsertParams(p)})
	results.QueryRow(func(_ int, row db.UpsertPositionsRow, rowErr error) {
		r.Inserted, r.Merged, err = int(row.Inserted), int(row.Merged), rowErr
	})
	switch {
	case err == nil:
		r.Unchanged = 1 - r.Inserted - r.Merged
		return r, nil
	case Classify(err) == BadRow:
		return Result{Rejected: []Rejection{rejection(0, BadRow, err)}}, nil
	case Classify(err) == Limit, Classify(err) == Unexpected:
		return Result{Parked: []Parked{{Err: err}}}, nil
	default:
		return Result{}, fmt.Errorf("try a position: %w", explain(err))
	}
}
