package schema

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/amacneil/dbmate/v2/pkg/dbmate"

	"processor/db"
	"processor/internal/format"
	"processor/internal/retry"
)

// Migrator applies and reverts migrations. The zero value waits for locks as long as it takes.
type Migrator struct {
	// LockTimeout bounds one wait for a lock on a table, since other readers and writers queue behind; 0 is no bound. As
	// long as that, others may go on before the next attempt.
	LockTimeout time.Duration
	// Retries is how many more attempts follow when LockTimeout has passed.
	Retries int
	// OnBlocked, if not nil, is called in the goroutine of Up or Down when it finds out that others hold a lock, and again
	// when they are others.
	OnBlocked func([]Blocker)
}

// Blocker is a session that holds a lock.
type Blocker struct {
	PID                        int32 // 0 is a prepared transaction
	Role, Application, Address string
	// State is pg_stat_activity's, such as idle in transaction; empty where the role may not see it.
	State string
	// Kind is pg_stat_activity's backend_type, such as client backend; empty where the role may not see it.
	Kind string
	// Transaction and Query are how long ago they began; negative where that is not known.
	Transaction, Query time.Duration
}

// String describes the session in one line, and how to end it.
func (b Blocker) String() string {
	if b.PID == 0 {
		return "a prepared transaction (pg_prepared_xacts)"
	}
	parts := []string{"pid " + strconv.Itoa(int(b.PID))}
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+value)
		}
	}
	add("role ", b.Role)
	add("application ", b.Application)
	add("from ", b.Address)
	if b.Kind != "client backend" {
		add("", b.Kind)
	}
	add("", b.State)
	if b.Transaction >= 0 {
		add("transaction open for ", b.Transaction.Round(time.Second).String())
	}
	if b.Query >= 0 {
		add("last query began ", b.Query.Round(time.Second).String()+" ago")
	}
	return strings.Join(parts, ", ")
}

// LockedError says that others hold a lock that a migration needs. Nothing of the migration that needs it is applied.
type LockedError struct {
	What     string // the lock
	Blockers []Blocker
	Attempts int
	Err      error // of the last attempt; nil where it did not wait
}

// Error implements error.
func (e *LockedError) Error() string {
	names := make([]string, len(e.Blockers))
	for i, b := range e.Blockers {
		names[i] = b.String()
	}
	text := fmt.Sprintf("%s is not free after %d attempts", e.What, e.Attempts)
	if len(names) > 0 {
		text += ": held by " + strings.Join(names, "; ")
	}
	return text
}

// Unwrap returns the error of the last attempt.
func (e *LockedError) Unwrap() error { return e.Err }

// Up applies the migrations that the database lacks.
func (m *Migrator) Up(ctx context.Context, databaseURL string) error {
	return m.run(ctx, databaseURL, (*dbmate.DB).Migrate)
}

// Down reverts the newest applied migration.
func (m *Migrator) Down(ctx context.Context, databaseURL string) error {
	return m.run(ctx, databaseURL, (*dbmate.DB).Rollback)
}

func (m *Migrator) run(ctx context.Context, databaseURL string, migrate func(*dbmate.DB) error) (err error) {
	// The blocked session is found by its name.
	name := "processor migrate " + rand.Text()[:8]
	parameters := map[string]string{"application_name": name, "lock_timeout": m.lockTimeout()}
	mate, err := newDBMate(databaseURL, parameters)
	if err != nil {
		return err
	}
	// dbmate opens its own connection, so the lock has one too.
	config, err := Config(databaseURL)
	if err != nil {
		return err
	}
	conn, err := Connect(ctx, config.ConnConfig)
	if err != nil {
		return fmt.Errorf("connect to migrate: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	w := &lockWatch{Migrator: m, queries: db.New(conn)}
	if err := w.lock(ctx); err != nil {
		return fmt.Errorf("wait for another migration: %w", err)
	}
	defer func() {
		// Closing the connection would unlock too; through a pooler only this does.
		if unlockErr := w.queries.UnlockMigrations(context.WithoutCancel(ctx), migrationLock); unlockErr != nil {
			err = errors.Join(err, fmt.Errorf("release the migration lock: %w", unlockErr))
		}
	}()
	for attempt := 1; ; attempt++ {
		err := w.during(ctx, name, func() error { return migrate(mate) })
		switch {
		case err == nil:
			return nil
		case sqlState(err) == protocolViolation && parameters["lock_timeout"] != "":
			// PgBouncer refuses the parameter: without it the migration waits as long as the role's lock_timeout says.
			delete(parameters, "lock_timeout")
			if mate, err = newDBMate(databaseURL, parameters); err != nil {
				return err
			}
			continue
		case sqlState(err) != lockNotAvailable:
			return fmt.Errorf("migrate: %w", err)
		case attempt > m.Retries:
			return fmt.Errorf("migrate: %w", &LockedError{What: "a lock on a table", Blockers: w.known, Attempts: attempt, Err: err})
		}
		if err := retry.Sleep(ctx, m.LockTimeout); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
	}
}

func (m *Migrator) lockTimeout() string {
	if m.LockTimeout <= 0 {
		return ""
	}
	return strconv.FormatInt(max(m.LockTimeout.Milliseconds(), 1), 10)
}

// lockWatch finds out who is in the way.
type lockWatch struct {
	*Migrator
	queries *db.Queries
	known   []Blocker
}

// lock takes the advisory lock that one migration at a time holds.
func (w *lockWatch) lock(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		locked, err := w.queries.TryLockMigrations(ctx, migrationLock)
		if err != nil || locked {
			return err
		}
		holders, err := w.queries.MigrationHolder(ctx, migrationLock)
		if err != nil {
			return err
		}
		if err := w.blocked(ctx, holders); err != nil {
			return err
		}
		if w.LockTimeout > 0 && attempt > w.Retries {
			return &LockedError{What: "the advisory lock of migrations", Blockers: w.known, Attempts: attempt}
		}
		if err := retry.Sleep(ctx, max(w.LockTimeout, watchInterval)); err != nil {
			return err
		}
	}
}

// watchInterval is the time between two looks at who is in the way.
const watchInterval = 100 * time.Millisecond

// during runs work, whose session has the application name, and looks meanwhile who blocks it.
func (w *lockWatch) during(ctx context.Context, application string, work func() error) error {
	done := make(chan error, 1)
	go func() { done <- work() }()
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
		}
		// Without an answer nobody is named, and the migration goes on.
		if pids, err := w.queries.BlockersOf(context.WithoutCancel(ctx), application); err == nil {
			_ = w.blocked(context.WithoutCancel(ctx), pids)
		}
	}
}

// blocked reports the sessions, where they are others than last time.
func (w *lockWatch) blocked(ctx context.Context, pids []int32) error {
	if len(pids) == 0 {
		return nil
	}
	slices.Sort(pids)
	if slices.EqualFunc(pids, w.known, func(pid int32, b Blocker) bool { return pid == b.PID }) {
		return nil
	}
	blockers := make([]Blocker, 0, len(pids))
	for _, pid := range pids {
		found, err := w.queries.DescribeSession(ctx, pid)
		if err != nil {
			return err
		}
		b := Blocker{PID: pid, Transaction: -1, Query: -1}
		if len(found) > 0 {
			b = Blocker{
				PID: pid, Role: found[0].Role, Application: found[0].Application, Address: found[0].Address, State: found[0].State,
				Kind: found[0].Kind, Transaction: format.Seconds(found[0].TransactionAge), Query: format.Seconds(found[0].QueryAge),
			}
		}
		blockers = append(blockers, b)
	}
	w.known = blockers
	if w.OnBlocked != nil {
		w.OnBlocked(blockers)
	}
	return nil
}
