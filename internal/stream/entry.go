package stream

import "bytes"

// Batch is what one or more reads of a stream delivered.
type Batch struct {
	Entries []Entry
	// Bytes is the size of Redis's replies. The entries keep all of it alive but the rest of oversize ones.
	Bytes int
	// Redelivered: these entries were delivered before, so their rows may be there already.
	Redelivered bool
	// TrimmedUnread counts entries that were trimmed or deleted before the group had them, as far as
	// Redis counts them as read with these reads. Later Stats do not know of them.
	TrimmedUnread int64

	memory *memory // of the entries; nil where there are none
}

// Release gives the memory of the batch back for further reads: no entry, and no slice of one, may be used any
// more. Of several copies of a batch one is released. A batch that is never released is merely garbage.
func (b *Batch) Release() {
	if b.memory != nil {
		b.memory.release()
	}
	b.Entries, b.memory = nil, nil
}

// Entry is one entry of a stream. Its slices are parts of the reply that it came with: a caller that keeps
// one of them beyond the batch copies it.
type Entry struct {
	ID ID
	// Payload is the value of the field "payload"; nil where there is no such field.
	Payload []byte
	// Trimmed: the entry was pending, and the stream was trimmed or the entry deleted before it
	// was delivered again. Nothing but the id is left of it.
	Trimmed bool
	// Oversize is the size in bytes of an entry that is larger than Consumer.MaxEntry, and 0 of any
	// other. Kept are the first fields of such an entry and the first 4096 bytes of each value; the payload
	// among them wherever it stands.
	Oversize int

	fields []byte // all fields as Redis sent them, count array elements
	count  int
}

// Clone returns a copy that keeps none of the batch's memory alive.
func (e *Entry) Clone() Entry {
	c := *e
	c.Payload, c.fields = bytes.Clone(e.Payload), bytes.Clone(e.fields)
	return c
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
