package inspect

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"processor/internal/schema"
	"processor/internal/store"
)

// Pooling is how a pooler such as PgBouncer gives server connections to its clients.
type Pooling string

// How a connection reaches its server.
const (
	// Direct: nothing in between.
	Direct Pooling = "direct"
	// PerSession: a server connection for as long as the client's lasts.
	PerSession Pooling = "session"
	// PerTransaction: a server connection for each transaction.
	PerTransaction Pooling = "transaction"
	// PerStatement: one for each statement; transactions of several are refused.
	PerStatement Pooling = "statement"
	// UnknownPooling: a pooler that gave no second connection in time.
	UnknownPooling Pooling = "unknown"
)

// Pooler is what lies between this service and the database.
type Pooler struct {
	Pooling Pooling
	// NamedStatements: prepared statements work as they do without a pooler.
	NamedStatements bool
}

// StatementMode is the URL's default_query_exec_mode: cache_statement unless it says otherwise.
func (i *Inspector) StatementMode() pgx.QueryExecMode { return i.mode }

// poolerTimeout bounds the wait for a second connection: a pool of one in session mode never
// gives one.
const poolerTimeout = 3 * time.Second

// Pooler finds out from outside, since a pooler's SHOW commands are for its own console alone:
//
//   - The process id in BackendKeyData, which a server sends at connection start, is that of the
//     backend. A pooler makes one up, since a cancel request must come to it.
//   - In session mode a connection keeps its backend, and two that are open never have the same.
//     In transaction mode the backend goes back after each statement: two of this connection and
//     one of a second one then meet the same backend twice (PgBouncer gives the one used last
//     first), or this connection changes its own (server_round_robin, or others in between).
//   - In statement mode BEGIN is refused.
//   - Prepared statements: where both connections prepare one under the same name, a pooler that
//     does not keep them apart (PgBouncer before 1.21, or without max_prepared_statements) meets
//     "already exists" (42P05) or "does not exist" (26000).
func (i *Inspector) Pooler(ctx context.Context) (p Pooler, err error) {
	own, err := i.queries.InspectBackend(ctx)
	if err != nil {
		return Pooler{}, fmt.Errorf("ask for the backend's process id: %w", err)
	}
	if uint32(own) == i.conn.PgConn().PID() {
		return Pooler{Pooling: Direct, NamedStatements: true}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, poolerTimeout)
	defer cancel()
	second, err := i.second(ctx)
	if err != nil {
		if ctx.Err() != nil || store.Classify(err) == store.Unavailable {
			return Pooler{Pooling: UnknownPooling}, nil
		}
		return Pooler{}, err
	}
	defer func() { err = errors.Join(err, second.Close(context.WithoutCancel(ctx))) }()
	shared, err := i.sharesBackend(ctx, own, second)
	switch {
	case ctx.Err() != nil:
		return Pooler{Pooling: UnknownPooling}, nil
	case err != nil:
		return Pooler{}, err
	case !shared:
		return Pooler{Pooling: PerSession, NamedStatements: true}, nil
	}
	p.Pooling = PerTransaction
	if p.NamedStatements, err = i.keepsStatements(ctx, second); err != nil {
		return Pooler{}, err
	}
	transacts, err := second.transacts(ctx)
	if !transacts {
		p.Pooling = PerStatement
	}
	return p, err
}

// second opens a further connection with the same settings.
func (i *Inspector) second(ctx context.Context) (*Inspector, error) {
	conn, err := schema.Connect(ctx, i.conn.Config())
	if err != nil {
		return nil, fmt.Errorf("open a second connection: %w", err)
	}
	return newInspector(conn, i.mode), nil
}

func (i *Inspector) sharesBackend(ctx context.Context, first int32, second *Inspector) (bool, error) {
	for _, c := range []*Inspector{i, second, i} {
		pid, err := c.queries.InspectBackend(ctx)
		if err != nil {
			return false, fmt.Errorf("ask for the backend's process id: %w", err)
		}
		if (pid == first) == (c == second) {
			return true, nil
		}
	}
	return false, nil
}

// keepsStatements prepares an empty statement, which is a statement to PostgreSQL.
func (i *Inspector) keepsStatements(ctx context.Context, second *Inspector) (keeps bool, err error) {
	name := "processor_" + rand.Text() // on a server connection that others use too
	for _, c := range []*Inspector{i, second} {
		conn := c.conn.PgConn()
		if _, err = conn.Prepare(ctx, name, "", nil); err == nil {
			defer func() { err = errors.Join(err, conn.Deallocate(ctx, name)) }()
			_, err = conn.ExecPrepared(ctx, name, nil, nil, nil).Close()
		}
		switch {
		case store.SQLState(err) == "42P05", store.SQLState(err) == "26000":
			return false, nil
		case err != nil:
			return false, fmt.Errorf("prepare a statement: %w", err)
		}
	}
	return true, nil
}

// transacts reports whether BEGIN works. Where it does not, the connection may be of no more use.
func (i *Inspector) transacts(ctx context.Context) (bool, error) {
	tx, err := i.conn.Begin(ctx)
	if store.SQLState(err) == "08P01" { // as PgBouncer calls it
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("begin a transaction: %w", err)
	}
	if err := tx.Rollback(ctx); err != nil {
		return false, fmt.Errorf("roll back an empty transaction: %w", err)
	}
	return true, nil
}
