package store

import (
	"cmp"
	"encoding/binary"
	"slices"

	"processor/internal/position"
)

// sorter orders the rows of a batch by key. Its buffers serve the next batch.
type sorter struct {
	keys  []sortKey
	order []int32
}

// sort returns the indices of the positions ordered by key; positions with one key stay in the order in
// which they came. The result is valid until the next call.
func (s *sorter) sort(positions []position.Position) []int32 {
	s.keys = s.keys[:0]
	for i := range positions {
		s.keys = append(s.keys, keyOf(&positions[i], int32(i)))
	}
	slices.SortFunc(s.keys, func(a, b sortKey) int {
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
	s.order = s.order[:0]
	for i := range s.keys {
		s.order = append(s.order, s.keys[i].row)
	}
	return s.order
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

// repeats reports whether a key stands twice in rows, where equal keys are neighbours.
func repeats(positions []position.Position, rows []int32) bool {
	for i := 1; i < len(rows); i++ {
		if compareKeys(&positions[rows[i-1]], &positions[rows[i]]) == 0 {
			return true
		}
	}
	return false
}
