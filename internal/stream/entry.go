package stream

// Batch is what one read delivered.
type Batch struct {
	Entries []Entry
	// Bytes is the size of Redis's replies, which the entries keep alive.
	Bytes int
	// Redelivered: these entries were delivered before, so their rows may be there already.
	Redelivered bool
}

// Add appends what a further read of the same stream delivered.
func (b *Batch) Add(more Batch) {
	b.Entries = append(b.Entries, more.Entries...)
	b.Bytes += more.Bytes
}

// Entry is one entry of a stream. Its slices lie in the reply that it came with: whoever keeps
// one of them beyond the batch copies it.
type Entry struct {
	ID ID
	// Payload is the value of the field "payload"; nil where there is no such field.
	Payload []byte
	// Trimmed: the entry was pending, and the stream was trimmed or the entry deleted before it
	// was delivered again. Nothing but the id is left of it.
	Trimmed bool

	fields []byte // all fields as Redis sent them, count array elements
	count  int
}

// Fields calls yield with each field of the entry and its value, in the order of XADD.
func (e *Entry) Fields(yield func(field, value []byte) bool) {
	r := respReader{buf: e.fields}
	for range e.count / 2 {
		field, err := r.bulk()
		if err != nil {
			return // parseRead has read the same bytes before
		}
		value, err := r.bulk()
		if err != nil || !yield(field, value) {
			return
		}
	}
}
