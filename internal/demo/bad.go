package demo

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"processor/internal/fleet"
	"processor/internal/position"
)

// fault makes an entry that cannot be stored out of a payload that can, and is the reason for that.
type fault struct {
	reason   position.Reason
	old, new string // in goodPayload; an empty old replaces all of it
}

const goodPayload = `{"device_id":"356307042441013","timestamp":"2026-11-26T10:15:04.000Z","latitude":54.6871555,` +
	`"longitude":25.2796514,"altitude":112,"angle":270,"speed":48,"satellites":11,"priority":0,"attributes":{"66":12614}}`

func faults() []fault {
	return []fault{
		{position.NotJSON, "", "not a position"},
		{position.NotJSON, `"attributes":{"66":12614}}`, ""},
		{position.MissingKey, `"latitude":54.6871555,`, ""},
		{position.MissingKey, "", "{}"},
		{position.WrongType, "54.6871555", `"north"`},
		{position.WrongType, `"356307042441013"`, "356307042441013"},
		{position.OutOfRange, "54.6871555", "1000"},
		{position.OutOfRange, `"satellites":11`, `"satellites":-1`},
		{position.MalformedSentinel, "12614", `{"__bigint":"12x"}`},
		{position.UnstorableString, "12614", `"a\u0000b"`},
		{position.UnstorableNumber, "12614", "1e999999"},
		{position.TooDeep, "12614", strings.Repeat("[", 70) + strings.Repeat("]", 70)},
	}
}

func (f fault) payload() []byte {
	if f.old == "" {
		return []byte(f.new)
	}
	return bytes.Replace([]byte(goodPayload), []byte(f.old), []byte(f.new), 1)
}

// badMark begins the field device_id of each bad entry, which the dead letter keeps.
const badMark = "bad-"

// badRecords returns one entry of each fault. first numbers them, so that an entry that is on the stream twice,
// because Redis's reply to the first was lost, is counted once.
func badRecords(first int, now time.Time) []fleet.Record {
	records := make([]fleet.Record, 0, len(faults()))
	for i, f := range faults() {
		records = append(records, fleet.Record{
			DeviceID:  fmt.Sprintf("%s%d", badMark, first+i),
			Timestamp: now.UTC(),
			Codec:     "8E",
			Payload:   f.payload(),
		})
	}
	return records
}
