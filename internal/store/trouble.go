package store

import (
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// publicError is an error whose text holds no message of the database, since a trigger's may have the
// coordinates of a row in it.
type publicError struct{ error }

// Unwrap returns the error itself.
func (e publicError) Unwrap() error { return e.error }

// Error implements error.
func (e publicError) Error() string {
	var pgErr *pgconn.PgError
	text := e.error.Error()
	if errors.As(e.error, &pgErr) {
		text = "SQLSTATE " + pgErr.Code
		var names []string
		for _, name := range []struct{ what, value string }{
			{"table", pgErr.TableName}, {"column", pgErr.ColumnName}, {"constraint", pgErr.ConstraintName},
		} {
			if name.value != "" {
				names = append(names, name.what+" "+name.value)
			}
		}
		if len(names) > 0 {
			text += " (" + strings.Join(names, ", ") + ")"
		}
	}
	if hint := Hint(e.error); hint != "" {
		text += ". Fix: " + hint
	}
	return text
}

// trouble logs once when writing begins to fail, once for each further kind of failure, and
// once when it goes on, however many writers meet it.
type trouble struct {
	logger *slog.Logger
	tell   func(class Class, since time.Time, err error) // may be nil

	mu      sync.Mutex
	writers map[any]Class // those that hold a batch, and why
	since   time.Time
}

func newTrouble(logger *slog.Logger, tell func(Class, time.Time, error)) trouble {
	return trouble{logger: logger, tell: tell, writers: map[any]Class{}}
}

// failed notes that the writer has to wait.
func (t *trouble) failed(w any, class Class, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.writers) == 0 {
		t.since = time.Now()
	}
	known := slices.Contains(slices.Collect(maps.Values(t.writers)), class)
	t.writers[w] = class
	if t.tell != nil {
		t.tell(class, t.since, publicError{err})
	}
	if known {
		return
	}
	t.logger.Warn("database unavailable; retrying the batch", "class", class, "error", publicError{err}, "hint", Hint(err))
	t.logger.Debug("message of the database", "error", err)
}

// over notes that the writer need not wait any more. It is over when that is so for all of them.
func (t *trouble) over(w any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.writers[w] == "" {
		return
	}
	delete(t.writers, w)
	if len(t.writers) > 0 {
		return
	}
	t.logger.Info("database available again", "after", time.Since(t.since).Round(time.Millisecond).String())
	if t.tell != nil {
		t.tell("", t.since, nil)
	}
}

// now reports whether a writer has to wait.
func (t *trouble) now() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.writers) > 0
}
