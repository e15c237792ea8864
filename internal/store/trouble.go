package store

import "sync"

// trouble knows which Writers hold a batch because of the database, and tells when that begins, goes on and ends.
type trouble struct {
	tell func(class Class, err error)   // may be nil
	held func(class Class, batches int) // may be nil

	mu      sync.Mutex
	writers map[any]Class // those that hold a batch, and why
}

func newTrouble(tell func(Class, error), held func(Class, int)) trouble {
	return trouble{tell: tell, held: held, writers: map[any]Class{}}
}

// failed notes that the writer has to wait.
func (t *trouble) failed(w any, class Class, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.writers[w]
	t.writers[w] = class
	t.count(before, class)
	if t.tell != nil {
		t.tell(class, explain(err))
	}
}

// over notes that the writer need not wait any more. It is over when that is so for all of them.
func (t *trouble) over(w any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	class, holds := t.writers[w]
	if !holds {
		return
	}
	delete(t.writers, w)
	t.count(class)
	if len(t.writers) == 0 && t.tell != nil {
		t.tell("", nil)
	}
}

// count tells how many batches are held because of errors of the classes. The caller holds the lock.
func (t *trouble) count(classes ...Class) {
	if t.held == nil {
		return
	}
	for _, class := range classes {
		n := 0
		for _, why := range t.writers {
			if why == class {
				n++
			}
		}
		if class != "" {
			t.held(class, n)
		}
	}
}

// now reports whether a writer has to wait.
func (t *trouble) now() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.writers) > 0
}
