package pipeline

import (
	"context"
	"fmt"

	"processor/internal/deadletter"
	"processor/internal/stream"
)

// bury makes a dead letter of a batch's single entry without looking into it: decoding or writing
// it seems to end the process. It takes the steps of process but those.
func (w *worker) bury(work context.Context, b *batch) error {
	for i := range b.Entries {
		entry := &b.Entries[i]
		if entry.Trimmed {
			w.trimmed = append(w.trimmed, entry.ID)
			continue
		}
		w.letters = append(w.letters, stream.Letter{
			Entry:  entry,
			Reason: string(deadletter.DeliveredTooOften),
			Detail: fmt.Sprintf("delivered %d times, over twice --max-deliveries, and not decoded any more: the process seems to end with this entry", b.buried),
		})
	}
	return w.settle(work, b)
}
