package bench

import (
	"cmp"
	"slices"
	"strings"

	"processor/internal/position"
)

// copyRows are rows in memory, cut into batches and sorted as a Writer sends them. The zero
// value is empty and ready.
type copyRows struct {
	batches [][]position.Position
	devices map[string]string
}

// add copies one batch of positions; the caller may reuse them and their memory. Few and large
// pieces of memory, so that the garbage collector has nothing to do while COPY is measured.
func (c *copyRows) add(batch []position.Position) {
	if c.devices == nil {
		c.devices = make(map[string]string)
	}
	size := 0
	for i := range batch {
		size += len(batch[i].Attributes)
	}
	rows, attributes := slices.Clone(batch), make([]byte, 0, size)
	for i := range rows {
		p := &rows[i]
		start := len(attributes)
		attributes = append(attributes, p.Attributes...)
		p.Attributes = attributes[start:len(attributes):len(attributes)]
		p.DeviceID = c.device(p.DeviceID)
	}
	slices.SortFunc(rows, func(a, b position.Position) int {
		return cmp.Or(cmp.Compare(a.DeviceID, b.DeviceID), a.Timestamp.Compare(b.Timestamp))
	})
	c.batches = append(c.batches, rows)
}

func (c *copyRows) device(id string) string {
	if known, ok := c.devices[id]; ok {
		return known
	}
	id = strings.Clone(id)
	c.devices[id] = id
	return id
}
