package store

import "sync"

// trouble knows which Writers hold a batch because of the database, and tells when that begins, goes on and ends.
type trouble struct {
	tell func(class Class, err error) // may be nil

	mu      sync.Mutex
	writers map[any]bool // those that hold a batch
}

func newTrouble(tell func(Class, error)) trouble {
	return trouble{tell: tell, writers: map[any]bool{}}
}

// failed notes that the writer has to wait.
func (t *trouble) failed(w any, class Class, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writers[w] = true
	if t.tell != nil {
		t.tell(class, explain(err))
	}
}

// over notes that the writer need not wait any more. It is over when that is so for all of them.
func (t *trouble) over(w any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.writers[w] {
		return
	}
	delete(t.writers, w)
	if len(t.writers) == 0 && t.tell != nil {
		t.tell("", nil)
	}
}

// now reports whether a writer has to wait.
func (t *trouble) now() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.writers) > 0
}
