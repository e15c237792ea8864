package deadletter

import (
	"context"
	"fmt"
	"time"

	"processor/internal/inspect"
	"processor/internal/position"
)

// Trial says what would become of a letter if it were replayed now. Not safe for concurrent use.
type Trial struct {
	// Window is the worker's --max-age and --max-future.
	Window Window
	// Database tries rows; without it only decoding is tried.
	Database *inspect.Inspector

	decoder position.Decoder
}

// Verdict is the outcome of a trial.
type Verdict struct {
	Passes bool
	// Detail is for people: what the row would be, or why there would be none.
	Detail string
}

// Try decodes the letter as the worker does and writes the row in a transaction that is rolled
// back. An error means that the letter could not be tried, and says nothing about it.
func (t *Trial) Try(ctx context.Context, l *Letter) (Verdict, error) {
	if l.Cut() {
		return Verdict{Detail: fmt.Sprintf("%s: only the beginning of the entry is kept", TooLarge)}, nil
	}
	t.decoder.Reset()
	p, err := t.decoder.Decode(l.Payload())
	if err != nil {
		return Verdict{Detail: err.Error()}, nil
	}
	if outside := t.Window.Outside(time.Now(), p.Timestamp); outside != "" {
		return Verdict{Detail: fmt.Sprintf("%s: %s", TimestampOutOfWindow, outside)}, nil
	}
	if t.Database == nil {
		return Verdict{Passes: true, Detail: "decodes"}, nil
	}
	result, err := t.Database.Try(ctx, &p)
	switch {
	case err != nil:
		return Verdict{}, fmt.Errorf("dead letter %s: %w", l.ID, err)
	case len(result.Rejected) > 0:
		r := &result.Rejected[0]
		return Verdict{Detail: fmt.Sprintf("%s: %s: %s", RejectedByDatabase, r.SQLState, r.Detail())}, nil
	case len(result.Parked) > 0:
		return Verdict{Detail: fmt.Sprintf("would wait: %s", result.Parked[0].Err)}, nil
	case result.Inserted > 0:
		return Verdict{Passes: true, Detail: "a new row"}, nil
	case result.Merged > 0:
		return Verdict{Passes: true, Detail: "adds attributes to the row that is there"}, nil
	default:
		return Verdict{Passes: true, Detail: "a row that is there already"}, nil
	}
}
