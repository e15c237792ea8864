package store

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// trouble logs once when writing begins to fail, once for each further kind of failure, and
// once when it goes on, however many writers meet it.
type trouble struct {
	logger *slog.Logger
	tell   func(class Class, since time.Time, err error) // may be nil

	mu      sync.Mutex
	writers map[*Writer]Class // those that hold a batch, and why
	since   time.Time
}

func newTrouble(logger *slog.Logger, tell func(Class, time.Time, error)) trouble {
	return trouble{logger: logger, tell: tell, writers: map[*Writer]Class{}}
}

// failed notes that the writer has to wait.
func (t *trouble) failed(w *Writer, class Class, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.writers) == 0 {
		t.since = time.Now()
	}
	known := slices.Contains(slices.Collect(maps.Values(t.writers)), class)
	t.writers[w] = class
	if t.tell != nil {
		t.tell(class, t.since, explain(err))
	}
	if known {
		return
	}
	t.logger.Warn("positions cannot be written; the batch is held and tried again",
		"class", class, "error", err, "hint", Hint(err))
}

// over notes that the writer need not wait any more. It is over when that is so for all of them.
func (t *trouble) over(w *Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.writers[w] == "" {
		return
	}
	delete(t.writers, w)
	if len(t.writers) > 0 {
		return
	}
	t.logger.Info("positions are written again", "after", time.Since(t.since).Round(time.Millisecond).String())
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
