package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/jackc/pgx/v5"

	"processor/internal/column"
	"processor/internal/position"
	"processor/sql"
)

// copySource encodes rows in COPY's binary format as they are sent: PostgreSQL documentation,
// COPY, Binary Format. Text goes as UTF-8, which is pgx's client encoding. pgx's own encoder allocates
// nine times and takes three times the CPU a row.
type copySource struct {
	mu      sync.Mutex // Read is called from pgconn's sender
	columns []column.Column
	batch   []position.Position
	rows    []int32 // still to encode
	buf     []byte
	pos     int // what of buf was read
	state   copyState
}

type copyState int

const (
	atHeader copyState = iota
	atRows
	atEnd
	closed
)

// chunk is about what pgconn sends at once; a chunk only ever holds whole rows.
const chunk = 60 << 10

func newCopySource() *copySource { return &copySource{columns: column.All()} }

// send copies the rows in a transaction, the connection's or one for itself, and returns how many
// were stored. After an error the source is of no more use: pgconn may still be about to read it.
func (s *copySource) send(ctx context.Context, conn *pgx.Conn, batch []position.Position, rows []int32) (int, error) {
	s.reset(batch, rows)
	defer s.close()
	tag, err := conn.PgConn().CopyFrom(ctx, s, sql.Copy)
	return int(tag.RowsAffected()), err
}

// Copier sends rows by COPY as a Writer does, and does nothing about errors: the benchmark measures with it what
// the database can do. Not safe for concurrent use.
type Copier struct {
	source *copySource
	order  []int32
}

// NewCopier returns a Copier. It needs no closing.
func NewCopier() *Copier { return &Copier{source: newCopySource()} }

// Copy stores the positions, which are sorted by key, in one transaction. The Copier is of no more use after an error.
func (c *Copier) Copy(ctx context.Context, conn *pgx.Conn, positions []position.Position) error {
	for len(c.order) < len(positions) {
		c.order = append(c.order, int32(len(c.order)))
	}
	if _, err := c.source.send(ctx, conn, positions, c.order[:len(positions)]); err != nil {
		return fmt.Errorf("write rows by COPY: %w", err)
	}
	return nil
}

func (s *copySource) reset(batch []position.Position, rows []int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batch, s.rows = batch, rows
	s.buf, s.pos = s.buf[:0], 0
	s.state = atHeader
}

// close lets go of the batch: a later Read fails.
func (s *copySource) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batch, s.rows, s.state = nil, nil, closed
}

// Read implements io.Reader.
func (s *copySource) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == closed {
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

func (s *copySource) append(p *position.Position) {
	b := binary.BigEndian.AppendUint16(s.buf, uint16(len(s.columns)))
	for i := range s.columns {
		b = s.columns[i].Encode(b, p)
	}
	s.buf = b
}
