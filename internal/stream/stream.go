// Package stream reads, acknowledges and dead-letters the entries of one Redis Stream as a
// member of a consumer group. It owns no goroutine and keeps no state about entries: Redis does.
package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrNoGroup says that the stream or its consumer group is gone: flushed, evicted, or lost in
// a failover. EnsureGroup makes both anew.
var ErrNoGroup = errors.New("consumer group does not exist")

// ErrUncounted says that Redis refuses the commands around a read with which trimmed entries are counted, for
// example because a right is missing. For a minute reads do without. Read what is pending: the
// refused read may have brought entries.
var ErrUncounted = errors.New("the server refuses to count what is trimmed")

// uncountedFor is how long reads do without counting.
const uncountedFor = time.Minute

// Consumer is one member of a consumer group on one stream. Its methods are safe for
// concurrent use, but for ReadNew, ReadPending, Claim and Close, of which one may run at a time;
// the client stays the caller's.
type Consumer struct {
	// MaxReply bounds the bytes that are kept of a reply with entries, since Redis itself counts entries
	// and not bytes; 0 is no bound. A single entry may be as large as MaxEntry allows. Set it before the
	// first read.
	MaxReply int
	// MaxEntry bounds the bytes of an entry, as Redis sends its fields, that is kept as a whole. Of a larger
	// one the beginning is kept (Entry.Oversize), and the rest is never held in memory. 0 is no bound. Set it
	// before the first read.
	MaxEntry int
	// Progress, where set, is called by a read while a long reply arrives. Set it before the first read.
	Progress func()

	client redis.UniversalClient
	stream string
	group  string
	name   string

	count     count
	countedAt int // when the read began that counts
	// countsFrom is when reads count again; before that they do without.
	countsFrom time.Time
	mayCount   bool // a transaction with the count worked

	consumers int // of the group, as the last counted read saw it

	wire   *wire    // of the reads; nil while there is none
	moved  redirect // where the last read was sent to
	memory memories
}

// replyTimeout is how long Redis may take for a reply, beyond the time that a read waits.
const replyTimeout = 3 * time.Second

// NewConsumer names the consumer that the methods act as. It talks to nobody yet.
func NewConsumer(client redis.UniversalClient, stream, group, name string) *Consumer {
	return &Consumer{client: client, stream: stream, group: group, name: name}
}

// Stream returns the name of the stream.
func (c *Consumer) Stream() string { return c.stream }

// Consumers returns how many consumers the group had at the last read that counted; 0 where that is not known. It is
// for the goroutine that reads.
func (c *Consumer) Consumers() int { return c.consumers }

// EnsureGroup creates the stream and the group where either is missing (XGROUP CREATE …
// MKSTREAM) and reports whether it did. The group begins at 0: entries that were there before
// it are read too, since a duplicate is harmless and a gap is not.
func (c *Consumer) EnsureGroup(ctx context.Context) (created bool, err error) {
	// Looked for first: a Redis without memory refuses XGROUP CREATE even where there is nothing
	// to create, and such a Redis above all has to be read.
	groups, err := c.client.XInfoGroups(ctx, c.stream).Result()
	// Without the right to look, creating it shows whether it is there.
	if err != nil && !missing(err) && !redis.IsPermissionError(err) {
		return false, fmt.Errorf("look for consumer group %s on stream %s: %w", c.group, c.stream, err)
	}
	if slices.ContainsFunc(groups, func(g redis.XInfoGroup) bool { return g.Name == c.group }) {
		return false, nil
	}
	err = c.client.XGroupCreateMkStream(ctx, c.stream, c.group, "0").Err()
	if redis.HasErrorPrefix(err, "BUSYGROUP") {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("create consumer group %s on stream %s: %w", c.group, c.stream, err)
	}
	c.count.begin()
	return true, nil
}

// ReadNew delivers up to count entries that no consumer of the group has had (XREADGROUP … >)
// and adds them to the batch. It waits up to block for the first one, in whole milliseconds; 0
// does not wait. It returns how many came: 0 and no error means none. Delivered entries are
// pending for this consumer until Ack or DeadLetter, even where the reply is lost: after an
// error, which may be a *BrokenReplyError, read what is pending.
//
// Where acks, which may be nil, holds ids, they are acknowledged in the same write, before anything waits.
func (c *Consumer) ReadNew(ctx context.Context, batch *Batch, count int, block time.Duration, acks *Acks) (int, error) {
	n, err := c.readAtOnce(ctx, batch, count, acks)
	if err == nil && n == 0 && block >= time.Millisecond {
		// What is added while this waits comes at once: nothing of it is trimmed unread.
		q := c.query(count, readDepth, c.readCommand(count, block, ">"))
		q.timeout += block
		n, err = c.readInto(ctx, batch, q, parsePlain)
	}
	if err != nil {
		return 0, c.readError(err)
	}
	return n, nil
}

// readAtOnce reads what is there, and counts what was trimmed unread where Redis lets it.
func (c *Consumer) readAtOnce(ctx context.Context, batch *Batch, count int, acks *Acks) (int, error) {
	counting, err := c.counting(ctx)
	if err != nil {
		return 0, err
	}
	if counting {
		q := c.query(count, execDepth, c.countedRead(count)...)
		q.ack = c.acknowledging(acks)
		n, err := c.readInto(ctx, batch, q, c.parseCounted)
		switch {
		case redis.IsPermissionError(err), redis.HasErrorPrefix(err, "EXECABORT"), redis.HasErrorPrefix(err, "ERR"):
			c.countsFrom, c.mayCount = time.Now().Add(uncountedFor), false
			return 0, fmt.Errorf("%w: %w", ErrUncounted, err)
		case !redis.HasErrorPrefix(err, "OOM"):
			return n, err
		}
		// Redis without memory takes nothing into a transaction, and above all has to be read.
	}
	q := c.query(count, readDepth, c.readCommand(count, 0, ">"))
	q.ack = c.acknowledging(acks)
	return c.readInto(ctx, batch, q, parsePlain)
}

// counting reports whether the next read counts. Before the first one does, a transaction without it shows whether Redis
// lets it: a read that is refused in the middle may have delivered entries.
func (c *Consumer) counting(ctx context.Context) (bool, error) {
	if c.mayCount || time.Now().Before(c.countsFrom) {
		return c.mayCount, nil
	}
	reply, err := c.send(ctx, c.query(1, 0, []string{"MULTI"}, []string{"XINFO", "GROUPS", c.stream}, []string{"EXEC"}), nil)
	if err != nil {
		return false, err
	}
	r := respReader{buf: reply}
	err = r.errorReply()
	if c.mayCount = err == nil; c.mayCount {
		return true, nil
	}
	if wrongServer(err) {
		return false, err
	}
	if !redis.HasErrorPrefix(err, "OOM") {
		c.countsFrom = time.Now().Add(uncountedFor)
	}
	return false, c.Close() // where EXEC is refused the transaction is still open
}

// wrongServer reports whether another server must be asked, or this one later, whatever is asked for.
func wrongServer(err error) bool {
	for _, code := range []string{"MOVED ", "ASK ", "CLUSTERDOWN ", "TRYAGAIN ", "READONLY ", "MASTERDOWN ", "LOADING "} {
		if redis.HasErrorPrefix(err, code) {
			return true
		}
	}
	return false
}

func (c *Consumer) readCommand(count int, block time.Duration, after string) []string {
	command := []string{"XREADGROUP", "GROUP", c.group, c.name, "COUNT", strconv.Itoa(count)}
	if block > 0 {
		command = append(command, "BLOCK", strconv.FormatInt(block.Milliseconds(), 10))
	}
	return append(command, "STREAMS", c.stream, after)
}

// delivered is what a read of new entries brought.
type delivered struct {
	entries       []Entry // those that the batch had before, and the new ones
	bytes         int     // of Redis's reply to XREADGROUP
	trimmedUnread int64
}

// parsePlain reads a reply of XREADGROUP. The entries are appended to those given and point into reply.
func parsePlain(entries []Entry, reply []byte) (delivered, error) {
	entries, err := parseRead(entries, reply)
	return delivered{entries: entries, bytes: len(reply)}, err
}

// readInto adds to the batch what parse finds in the reply, which stays in the batch's memory.
func (c *Consumer) readInto(ctx context.Context, batch *Batch, q query,
	parse func([]Entry, []byte) (delivered, error)) (int, error) {
	m, entries := batch.memory, batch.Entries
	if m == nil {
		m = c.memory.get()
		entries = m.entries[:0]
	}
	reply, err := c.send(ctx, q, m.next())
	if err != nil {
		return 0, err
	}
	d, err := parse(entries, reply)
	if err != nil {
		return 0, err
	}
	n := len(d.entries) - len(entries)
	batch.Bytes += d.bytes + c.wire.skipped
	batch.TrimmedUnread += d.trimmedUnread
	m.keep(d.entries, reply, n > 0)
	if n > 0 {
		batch.Entries, batch.memory = d.entries, m
	} else if batch.memory == nil {
		m.release()
	}
	return n, nil
}

// send sends a query over the connection of the reads, which it opens where there is none, and returns the
// reply, in the memory of buf as far as that suffices.
func (c *Consumer) send(ctx context.Context, q query, buf []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if c.wire == nil {
		w, err := dial(ctx, c.client, c.stream, c.moved)
		c.moved = redirect{} // if it is wrong the next read asks the cluster again
		if err != nil {
			return nil, err
		}
		c.wire = w
	}
	return c.wire.do(ctx, q, buf)
}

// Close closes the connection of the reads; another read opens it again.
func (c *Consumer) Close() error {
	if c.wire == nil {
		return nil
	}
	err := c.wire.close()
	c.wire = nil
	return err
}

// ReadPending delivers again up to count of the entries that are pending for this consumer,
// those after the given id in their order (XREADGROUP with an id). An empty batch means that
// there are no more. It does not wait. The error may be a *BrokenReplyError.
func (c *Consumer) ReadPending(ctx context.Context, after ID, count int) (Batch, error) {
	batch := Batch{Redelivered: true}
	q := c.query(count, readDepth, c.readCommand(count, 0, after.String()))
	if _, err := c.readInto(ctx, &batch, q, parsePlain); err != nil {
		return Batch{}, c.readError(err)
	}
	return batch, nil
}

// readError closes the connection too. Whatever the error says, of a server that moved or is a
// replica now: the next read finds the right one.
func (c *Consumer) readError(err error) error {
	// UNBLOCKED: the stream vanished while the read waited.
	if redis.HasErrorPrefix(err, "NOGROUP") || redis.HasErrorPrefix(err, "UNBLOCKED") {
		err = ErrNoGroup
	}
	if _, cluster := c.client.(*redis.ClusterClient); cluster {
		c.moved = redirectOf(err)
	}
	return errors.Join(fmt.Errorf("read stream %s: %w", c.stream, err), c.Close())
}

// Ack takes the entries off the group's pending list (XACK) and returns how many were on it. A
// repetition is harmless.
func (c *Consumer) Ack(ctx context.Context, ids []ID) (int, error) {
	if len(ids) == 0 {
		return 0, nil
	}
	// Pointers to strings go into the arguments without an allocation each.
	texts := idStrings(ids)
	args := make([]any, 0, 3+len(texts))
	args = append(args, "xack", c.stream, c.group)
	for i := range texts {
		args = append(args, &texts[i])
	}
	cmd := redis.NewIntCmd(ctx, args...)
	if err := c.client.Process(ctx, cmd); err != nil {
		return 0, fmt.Errorf("acknowledge %d entries of stream %s: %w", len(ids), c.stream, err)
	}
	return int(cmd.Val()), nil
}

// leave removes a consumer only where it holds nothing. Check and removal are one step for
// Redis: XGROUP DELCONSUMER would drop what became pending in between.
var leave = redis.NewScript(`
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then
	return 0
end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
return 1
`)

// Leave removes this consumer from the group, unless entries are pending for it: those would
// go with it. It reports whether the consumer is gone.
func (c *Consumer) Leave(ctx context.Context) (bool, error) {
	gone, err := leave.Run(ctx, c.client, []string{c.stream}, c.group, c.name).Bool()
	switch {
	case redis.HasErrorPrefix(err, "NOGROUP"), errors.Is(err, redis.Nil):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("remove consumer %s from group %s: %w", c.name, c.group, err)
	}
	return gone, nil
}
