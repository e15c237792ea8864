package store

import (
	"context"
	"slices"
)

// A batch that holds a bad row is cut into eighths, so that few rows are sent twice, and near the
// row into halves, so that there are few commits.
const (
	manyParts = 8
	fewRows   = 64
)

// dividedBatches is how many batches are written in parts after one that held a bad row. A batch
// that is divided from the start loses one part to the next bad row, and not all that the server
// did until it met it: half a batch on average, which costs more than all that comes after.
const dividedBatches = 16

// divide settles the rows in parts, one after the other.
func (w *Writer) divide(ctx context.Context, rows []int32, r *Result) error {
	parts := 2
	if len(rows) > fewRows {
		parts = manyParts
	}
	for part := range slices.Chunk(rows, (len(rows)+parts-1)/parts) {
		if err := w.settle(ctx, part, r); err != nil {
			return err
		}
	}
	return nil
}
