package stream

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ID is the id of an entry: milliseconds of Redis's clock, and a sequence number within them.
type ID struct {
	Millis, Seq uint64
}

// ParseID reads an id as Redis writes it: <milliseconds>-<sequence>.
func ParseID(text string) (ID, error) {
	id, ok := parseID(text)
	if !ok {
		return ID{}, fmt.Errorf("entry id %q: not <milliseconds>-<sequence>", text)
	}
	return id, nil
}

// parseID keeps text out of its errors, so that string(bytes) costs a caller no allocation.
func parseID(text string) (ID, bool) {
	millis, seq, _ := strings.Cut(text, "-")
	m, err := strconv.ParseUint(millis, 10, 64)
	if err != nil {
		return ID{}, false
	}
	s, err := strconv.ParseUint(seq, 10, 64)
	return ID{m, s}, err == nil
}

// MaxID is the greatest id there can be.
func MaxID() ID { return ID{math.MaxUint64, math.MaxUint64} }

// Next returns the id behind this one, and the greatest one for itself.
func (id ID) Next() ID {
	switch {
	case id.Seq < math.MaxUint64:
		return ID{id.Millis, id.Seq + 1}
	case id.Millis < math.MaxUint64:
		return ID{Millis: id.Millis + 1}
	}
	return id
}

// Previous returns the id before this one, and the zero one for itself.
func (id ID) Previous() ID {
	switch {
	case id.Seq > 0:
		return ID{id.Millis, id.Seq - 1}
	case id.Millis > 0:
		return ID{id.Millis - 1, math.MaxUint64}
	}
	return id
}

// IDAt returns the least id of a time; the zero one before 1970.
func IDAt(t time.Time) ID { return ID{Millis: uint64(max(t.UnixMilli(), 0))} }

// Compare orders ids as Redis does.
func (id ID) Compare(other ID) int {
	return cmp.Or(cmp.Compare(id.Millis, other.Millis), cmp.Compare(id.Seq, other.Seq))
}

// Time is when Redis made the id: the time of XADD, unless the producer gave the id itself.
func (id ID) Time() time.Time { return time.UnixMilli(int64(id.Millis)) }

// String writes the id as Redis does.
func (id ID) String() string { return string(id.append(nil)) }

func (id ID) append(buf []byte) []byte {
	buf = strconv.AppendUint(buf, id.Millis, 10)
	buf = append(buf, '-')
	return strconv.AppendUint(buf, id.Seq, 10)
}

// idStrings writes all ids into one piece of memory.
func idStrings(ids []ID) []string {
	buf := make([]byte, 0, len("1749827887123-0000")*len(ids))
	ends := make([]int, len(ids))
	for i, id := range ids {
		buf = id.append(buf)
		ends[i] = len(buf)
	}
	all := string(buf)
	texts, start := make([]string, len(ids)), 0
	for i, end := range ends {
		texts[i], start = all[start:end], end
	}
	return texts
}
