package stream

// Acks are entries that the next read acknowledges: XACK goes in the same write, so that it costs no round
// trip. The zero value has none.
type Acks struct {
	// IDs are to be acknowledged. A read takes them off once the server has.
	IDs []ID
	// Refused is the server's refusal of the last XACK, a missing right for example; nil where there was none.
	Refused error
}

// ackQuery is an XACK that goes before the commands of a query.
type ackQuery struct {
	stream, group string
	acks          *Acks
}

// acknowledging returns the XACK of what acks hold; acks may be nil.
func (c *Consumer) acknowledging(acks *Acks) ackQuery {
	if acks != nil && len(acks.IDs) == 0 {
		acks = nil
	}
	return ackQuery{c.stream, c.group, acks}
}

// append adds the command, in which ids are far too many to be strings first.
func (q ackQuery) append(b []byte) []byte {
	if q.acks == nil {
		return b
	}
	b = appendHeader(b, '*', len(q.acks.IDs)+len([]string{"XACK", q.stream, q.group}))
	b = appendArgument(b, "XACK")
	b = appendArgument(b, q.stream)
	b = appendArgument(b, q.group)
	var text [len("18446744073709551615-18446744073709551615")]byte
	for _, id := range q.acks.IDs {
		b = appendArgument(b, id.append(text[:0]))
	}
	return b
}

// answered learns from the reply.
func (q ackQuery) answered(reply []byte) {
	r := respReader{buf: reply}
	if q.acks.Refused = r.errorReply(); q.acks.Refused == nil {
		q.acks.IDs = q.acks.IDs[:0]
	}
}
