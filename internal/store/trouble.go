package store

import (
	"log/slog"
	"sync"
	"time"
)

// trouble logs once when writing begins to fail, once for each further kind of failure, and
// once when it goes on, however many writers meet it.
type trouble struct {
	logger *slog.Logger
	tell   func(class Class, since time.Time, err error) // may be nil

	mu    sync.Mutex
	class Class // empty while all is well
	since time.Time
}

func (t *trouble) failed(class Class, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.class == "" {
		t.since = time.Now()
	}
	if t.tell != nil {
		t.tell(class, t.since, err)
	}
	if t.class == class {
		return
	}
	t.class = class
	t.logger.Warn("positions cannot be written; the batch is held and tried again",
		"class", class, "error", err, "mend", mendFor(err))
}

func (t *trouble) over() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.class == "" {
		return
	}
	t.logger.Info("positions are written again", "after", time.Since(t.since).Round(time.Millisecond).String())
	t.class = ""
	if t.tell != nil {
		t.tell("", t.since, nil)
	}
}

func (t *trouble) now() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.class != ""
}
