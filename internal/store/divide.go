package store

import (
	"context"
	"slices"
)

// A batch that the server refuses is cut into eighths, so that few rows are sent twice, and a small
// one into halves, so that few statements are sent.
const (
	manyParts = 8
	fewRows   = 64
)

// partSize is how many rows a part of so many has. Up to mostHalved rows are cut into halves.
func partSize(rows, mostHalved int) int {
	parts := 2
	if rows > mostHalved {
		parts = manyParts
	}
	return (rows + parts - 1) / parts
}

// divide settles the rows in parts, one after the other.
func (w *Writer) divide(ctx context.Context, rows []int32, r *Result) error {
	for part := range slices.Chunk(rows, partSize(len(rows), fewRows)) {
		if err := w.settle(ctx, part, r); err != nil {
			return err
		}
	}
	return nil
}
