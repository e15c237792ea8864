package stream

const (
	// excerptName and excerptValue bound the bytes that are kept of a field name and of a value of an entry
	// that is larger than Consumer.MaxEntry.
	excerptName  = 256
	excerptValue = 4 << 10
	// excerptTotal bounds what is kept of its fields, in their order, besides those with a place reserved.
	excerptTotal = 16 << 10
)

// reserved are the fields that are kept wherever they stand in a large entry: those of the contract, and
// those that DeadLetter appends, in its order.
var reserved = [...]string{"ts", "device_id", "codec", "payload", FieldReason, FieldDetail, FieldSourceID, FieldTime, FieldSQLState}

// excerpt builds the field list that is kept of a large entry: its first fields, cut to excerptName and
// excerptValue, up to excerptTotal bytes; and the last of each of the reserved ones after these.
type excerpt struct {
	elements int

	list  []byte
	name  []byte // of the field whose value is next
	value bool   // a value is next
	full  bool   // list takes no more
	later [len(reserved)][]byte
}

// reset empties the excerpt and keeps its memory.
func (x *excerpt) reset() {
	*x = excerpt{list: x.list[:0], name: x.name[:0], later: x.later}
	for i := range x.later {
		x.later[i] = x.later[i][:0]
	}
}

// add adds the beginning of the next element, names and values in turn.
func (x *excerpt) add(text []byte) {
	if !x.value {
		x.name = append(x.name[:0], text[:min(len(text), excerptName)]...)
		x.value = true
		return
	}
	x.value = false
	text = text[:min(len(text), excerptValue)]
	if !x.full && len(x.list)+len(x.name)+len(text) <= excerptTotal {
		x.list = appendBulk(appendBulk(x.list, x.name), text)
		x.elements += 2
		return
	}
	x.full = true // what comes later stays in its order
	for i, name := range reserved {
		if name == string(x.name) {
			x.later[i] = appendBulk(appendBulk(x.later[i][:0], x.name), text)
		}
	}
}

// finish returns the field list, valid until reset.
func (x *excerpt) finish() []byte {
	for _, field := range x.later {
		if len(field) > 0 {
			x.list = append(x.list, field...)
			x.elements += 2
		}
	}
	return x.list
}

func appendBulk(b, text []byte) []byte {
	b = appendHeader(b, '$', len(text))
	b = append(b, text...)
	return append(b, "\r\n"...)
}
