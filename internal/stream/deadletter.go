package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Fields that a dead letter has beyond those of the entry that it is a copy of.
const (
	FieldReason   = "dlq_reason"    // one word of a closed set
	FieldDetail   = "dlq_detail"    // for people
	FieldSourceID = "dlq_source_id" // the entry's id on its own stream
	FieldTime     = "dlq_time"      // RFC 3339, when it was given up
	FieldSQLState = "dlq_sqlstate"  // where the database refused the row
)

// Letter is an entry that cannot be a row, and why.
type Letter struct {
	Entry    *Entry
	Reason   string
	Detail   string
	SQLState string
}

// DeadLetter copies the entries with all their fields to the dead-letter stream and takes them
// off the pending list, in one MULTI: either both happen or neither. Where the answer is lost,
// a repetition may leave a second copy; no entry is ever left without one.
func (c *Consumer) DeadLetter(ctx context.Context, letters []Letter) error {
	if len(letters) == 0 {
		return nil
	}
	// Redis undoes nothing: where the key holds something else, MULTI would acknowledge and not
	// copy. Everything else that can refuse XADD (memory, rights, disk) refuses the whole MULTI.
	if err := c.client.XLen(ctx, DeadKey(c.stream)).Err(); err != nil {
		return fmt.Errorf("dead-letter %d entries of stream %s to %s: %w", len(letters), c.stream, DeadKey(c.stream), err)
	}
	now := time.Now().UTC().Format(time.RFC3339Nano)
	_, err := c.client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		ids := make([]ID, len(letters))
		for i, l := range letters {
			ids[i] = l.Entry.ID
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: DeadKey(c.stream), Values: l.values(now)})
		}
		pipe.XAck(ctx, c.stream, c.group, idStrings(ids)...)
		return nil
	})
	if err != nil {
		return fmt.Errorf("dead-letter %d entries of stream %s: %w", len(letters), c.stream, err)
	}
	return nil
}

func (l *Letter) values(now string) []any {
	values := make([]any, 0, l.Entry.count+10)
	for field, value := range l.Entry.Fields {
		values = append(values, field, value)
	}
	values = append(values,
		FieldReason, l.Reason,
		FieldDetail, l.Detail,
		FieldSourceID, l.Entry.ID.String(),
		FieldTime, now)
	if l.SQLState != "" {
		values = append(values, FieldSQLState, l.SQLState)
	}
	return values
}
