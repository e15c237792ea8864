package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"processor/internal/position"
	"processor/sql"
)

// copyConn is a connection whose CopyFrom takes the rows from source instead of the generated
// iterator. That one boxes every value, and pgx looks up an encoder for each: nine allocations
// and three times the CPU a row. Statement, table and columns stay those that sqlc generated.
type copyConn struct {
	*pgx.Conn
	source *copySource
}

// CopyFrom implements db.DBTX.
func (c copyConn) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, _ pgx.CopyFromSource) (int64, error) {
	if len(columns) != copyColumns {
		return 0, fmt.Errorf("%d columns to copy, encoder for %d: CopyPositions and copySource.append must agree", len(columns), copyColumns)
	}
	quoted := make([]string, len(columns))
	for i, column := range columns {
		quoted[i] = pgx.Identifier{column}.Sanitize()
	}
	statement := fmt.Sprintf(sql.Copy, table.Sanitize(), strings.Join(quoted, ", "))
	// pgconn may return while its sender still reads from source.
	defer c.source.close()
	tag, err := c.PgConn().CopyFrom(ctx, c.source, statement)
	return tag.RowsAffected(), err
}

// copySource encodes rows in COPY's binary format as they are sent: PostgreSQL documentation,
// COPY, Binary Format. Text goes as UTF-8, which is pgx's client encoding.
type copySource struct {
	mu     sync.Mutex // Read is called from pgconn's sender
	batch  []position.Position
	rows   []int32 // still to encode
	buf    []byte
	pos    int // what of buf was read
	state  copyState
	closed bool
}

type copyState int

const (
	atHeader copyState = iota
	atRows
	atEnd
)

// copyColumns is how many values append writes for a row.
const copyColumns = 10

// chunk is about what pgconn sends at once; a chunk only ever holds whole rows.
const chunk = 60 << 10

func (s *copySource) reset(batch []position.Position, rows []int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batch, s.rows = batch, rows
	s.buf, s.pos = s.buf[:0], 0
	s.state, s.closed = atHeader, false
}

// close lets go of the batch: a later Read fails.
func (s *copySource) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batch, s.rows, s.closed = nil, nil, true
}

// Read implements io.Reader.
func (s *copySource) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, io.ErrClosedPipe
	}
	if s.pos == len(s.buf) {
		s.fill()
	}
	if s.pos == len(s.buf) {
		return 0, io.EOF
	}
	n := copy(p, s.buf[s.pos:])
	s.pos += n
	return n, nil
}

func (s *copySource) fill() {
	s.buf, s.pos = s.buf[:0], 0
	if s.state == atHeader {
		// Signature, no flags, no header extension.
		s.buf = append(s.buf, "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
		s.state = atRows
	}
	for len(s.rows) > 0 && len(s.buf) < chunk {
		s.append(&s.batch[s.rows[0]])
		s.rows = s.rows[1:]
	}
	if len(s.rows) == 0 && s.state == atRows && len(s.buf) < chunk {
		s.buf = append(s.buf, 0xff, 0xff) // trailer: -1 columns
		s.state = atEnd
	}
}

// microsecondsTo2000 is where timestamptz counts from.
const microsecondsTo2000 = 946684800_000_000

// append encodes one row in the order of CopyPositions' columns.
func (s *copySource) append(p *position.Position) {
	b := binary.BigEndian.AppendUint16(s.buf, copyColumns)
	b = binary.BigEndian.AppendUint32(b, uint32(len(p.DeviceID)))
	b = append(b, p.DeviceID...)
	b = appendInt64(b, p.Timestamp.UnixMicro()-microsecondsTo2000)
	b = appendInt64(b, int64(math.Float64bits(p.Latitude)))
	b = appendInt64(b, int64(math.Float64bits(p.Longitude)))
	b = appendFloat32(b, p.Altitude)
	b = appendFloat32(b, p.Angle)
	b = appendFloat32(b, p.Speed)
	b = appendInt16(b, p.Satellites)
	b = appendInt16(b, p.Priority)
	b = binary.BigEndian.AppendUint32(b, uint32(1+len(p.Attributes)))
	b = append(b, 1) // version of jsonb's binary format
	s.buf = append(b, p.Attributes...)
}

func appendInt64(b []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 8), uint64(v))
}

func appendFloat32(b []byte, v float32) []byte {
	return binary.BigEndian.AppendUint32(append(b, 0, 0, 0, 4), math.Float32bits(v))
}

func appendInt16(b []byte, v uint8) []byte {
	return append(b, 0, 0, 0, 2, 0, v)
}
