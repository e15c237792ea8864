package stream

import (
	"errors"
	"fmt"
)

// query asks for up to count entries, whose field lists lie at the depth in the reply to the last command.
func (c *Consumer) query(count, depth int, commands ...[]string) query {
	q := query{
		commands: commands,
		entries:  count,
		limits:   limits{reply: c.MaxReply, entry: c.MaxEntry, depth: depth},
		timeout:  replyTimeout,
		progress: c.Progress,
	}
	switch {
	case count > 1:
	case c.MaxEntry == 0:
		q.limits.reply = 0
	case c.MaxReply > 0:
		q.limits.reply = max(c.MaxReply, c.MaxEntry+besideEntry)
	}
	return q
}

// besideEntry is room for what a reply holds besides an entry of MaxEntry bytes, or for the excerpt of a
// larger one.
const besideEntry = 1 << 20

// BrokenReplyError says that a reply did not arrive as a whole: it went beyond Consumer.MaxReply, the
// connection ended before or in the middle of it, or it stood still or took too long. What it held is
// pending for this consumer. Ask for fewer entries at a time.
type BrokenReplyError struct {
	// Entries were asked for.
	Entries int
	// Bytes had been read. 0 where the connection ended instead of a reply: because it was cut, or because the
	// reply goes beyond Redis's client-output-buffer-limit.
	Bytes int
	// Err is the cause: io.ErrUnexpectedEOF, os.ErrDeadlineExceeded or another error of the connection.
	Err error
}

// Error implements error.
func (e *BrokenReplyError) Error() string {
	return fmt.Sprintf("reply of up to %d entries broke off after %d bytes: %s", e.Entries, e.Bytes, e.Err)
}

// TooLarge reports whether the reply was given up because it went beyond Consumer.MaxReply.
func (e *BrokenReplyError) TooLarge() bool { return errors.Is(e.Err, errTooLarge) }

// Unwrap returns the cause.
func (e *BrokenReplyError) Unwrap() error { return e.Err }
