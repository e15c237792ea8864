package pipeline

import (
	"context"
	"time"

	"processor/internal/stream"
)

// A batch of which every entry is stored is acknowledged by its lane, with the next read: that saves a round trip.
// After a read that failed the lane sends XACK by itself. What is refused is parked, and the lane's third queue retries it.

// acknowledged learns what became of the XACK that went with a read, or was sent instead of one. Before it so many
// ids were to be acknowledged. Those that a broken connection left stay.
func (l *lane) acknowledged(before int) {
	switch {
	case before == 0:
	case l.unacknowledged.Refused != nil:
		l.incidents.acknowledge.Fail(l.unacknowledged.Refused, "entries", before)
		l.parkAcks()
	case len(l.unacknowledged.IDs) == 0:
		l.incidents.acknowledge.Recover()
		l.pipeline.step(Acknowledged)
	}
}

// ackTimeout bounds for how long a lane waits for an XACK by itself.
const ackTimeout = 3 * time.Second

// acknowledge sends the XACK that no read takes along.
func (l *lane) acknowledge(work context.Context) {
	work, cancel := context.WithTimeout(work, ackTimeout)
	defer cancel()
	before := len(l.unacknowledged.IDs)
	_, err := l.consumer.Ack(work, l.unacknowledged.IDs)
	if err == nil {
		l.unacknowledged.IDs = l.unacknowledged.IDs[:0]
	}
	l.unacknowledged.Refused = err
	l.acknowledged(before)
}

// parkAcks leaves to the queue what is not acknowledged yet.
func (l *lane) parkAcks() {
	for _, id := range l.unacknowledged.IDs {
		l.acks.put(item{entry: &stream.Entry{ID: id}, outcome: stored})
	}
	l.unacknowledged = stream.Acks{IDs: l.unacknowledged.IDs[:0]}
}
