package store

import (
	"cmp"
	"encoding/binary"
	"slices"

	"processor/internal/position"
)

// sort orders the batch by key and leaves positions with one key in the order they came in.
func (w *Writer) sort() {
	positions := w.batch.Positions
	w.keys = w.keys[:0]
	for i := range positions {
		w.keys = append(w.keys, keyOf(&positions[i], int32(i)))
	}
	slices.SortFunc(w.keys, func(a, b sortKey) int {
		switch {
		case a.head != b.head:
			return cmp.Compare(a.head, b.head)
		case a.tail != b.tail:
			return cmp.Compare(a.tail, b.tail)
		case a.long || b.long:
			if c := cmp.Compare(positions[a.row].DeviceID, positions[b.row].DeviceID); c != 0 {
				return c
			}
		}
		return cmp.Or(cmp.Compare(a.ts, b.ts), cmp.Compare(a.row, b.row))
	})
	w.order = w.order[:0]
	for i := range w.keys {
		w.order = append(w.order, w.keys[i].row)
	}
}

// sortKey is a position's key in numbers: comparing those takes half the time of comparing
// strings scattered across memory.
type sortKey struct {
	head, tail uint64 // the identifier's first 16 bytes; shorter ones end in zeros, which none holds
	ts         int64  // microseconds
	row        int32
	long       bool // the identifier goes on
}

func keyOf(p *position.Position, row int32) sortKey {
	var first [16]byte
	long := copy(first[:], p.DeviceID) < len(p.DeviceID)
	return sortKey{
		head: binary.BigEndian.Uint64(first[:8]),
		tail: binary.BigEndian.Uint64(first[8:]),
		ts:   p.Timestamp.UnixMicro(),
		row:  row,
		long: long,
	}
}

func compareKeys(a, b *position.Position) int {
	if c := cmp.Compare(a.DeviceID, b.DeviceID); c != 0 {
		return c
	}
	return a.Timestamp.Compare(b.Timestamp)
}
