package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/deadletter"
	"processor/internal/servertest"
	"processor/internal/stream"
)

const (
	badPayload  = `{"device_id":"one"}`
	goodPayload = `{"device_id":"two","timestamp":"2025-06-01T12:00:00.000Z","latitude":54.5,"longitude":25.25,"altitude":100,"angle":10,"speed":20,"satellites":9,"priority":1,"attributes":{"78":{"__bigint":"12345678901234567890"}}}`
	rawPayload  = "\x00\xff\x1b[31m"
)

// letterRig is a stream of the test's own with three dead letters: 1-0 lacks keys, 2-0 would pass
// now, 3-0 is rubbish that would colour the terminal.
type letterRig struct {
	*rig
	before []string
}

func newLetterRig(t *testing.T) letterRig {
	r := letterRig{rig: newRig(t)}
	r.put("1-0", deadletter.MissingKey, "timestamp: missing_key", "", "ts", "1", "device_id", "one", "payload", badPayload)
	r.put("2-0", deadletter.RejectedByDatabase, "violates check (constraint slow)", "23514", "device_id", "two", "payload", goodPayload)
	r.put("3-0", deadletter.NotJSON, "not_json: \x1b[31m", "", "device_id", "\x1b[2J", "payload", rawPayload)
	r.before = r.dead()
	require.Len(t, r.before, 3)
	return r
}

func (r *rig) put(id string, reason deadletter.Reason, detail, sqlState string, fields ...string) {
	fields = append(fields, stream.FieldReason, string(reason), stream.FieldDetail, detail, stream.FieldSourceID, "7-"+id[:1], stream.FieldTime, "2026-11-23T12:00:0"+id[:1]+"Z")
	if sqlState != "" {
		fields = append(fields, stream.FieldSQLState, sqlState)
	}
	require.NoError(r.t, r.client.XAdd(r.t.Context(), &redis.XAddArgs{Stream: stream.DeadKey(r.stream), ID: id, Values: fields}).Err())
}

func TestDlqList_ShowsAndCounts(t *testing.T) {
	r := newLetterRig(t)
	head := fmt.Sprintf(letterLine, "ID", "TIME", "REASON", "DEVICE", "DETAIL")
	one := "1-0                 2026-11-23T12:00:01.000Z  missing_key              one                   timestamp: missing_key\n"
	two := "2-0                 2026-11-23T12:00:02.000Z  rejected_by_database     two                   violates check (constraint slow)\n"
	three := `3-0                 2026-11-23T12:00:03.000Z  not_json                 \u001b[2J             not_json: \u001b[31m` + "\n"
	all := "3 dead letters: 1 missing_key, 1 not_json, 1 rejected_by_database\n"
	cases := map[string]struct {
		args []string
		want string
	}{
		"all":               {nil, head + three + two + one + all},
		"a limit":           {[]string{"--limit=2"}, head + three + two + "2 of 3 dead letters listed: 1 missing_key, 1 not_json, 1 rejected_by_database\n"},
		"a reason":          {[]string{"--reason=missing_key,not_json"}, head + three + one + "2 dead letters: 1 missing_key, 1 not_json\n"},
		"a device":          {[]string{"--device=two"}, head + two + "1 dead letter: 1 rejected_by_database\n"},
		"older than others": {[]string{"--older=24h"}, head + three + two + one + all},
		"newer than all":    {[]string{"--newer=24h"}, "no dead letters\n"},
		"json": {[]string{"--json", "--limit=2"}, fmt.Sprintf(`{"stream":%[1]q,"id":"3-0","time":"2026-11-23T12:00:03Z","reason":"not_json","detail":"not_json: \u001b[31m","device_id":"\u001b[2J","source_id":"7-3"}
{"stream":%[1]q,"id":"2-0","time":"2026-11-23T12:00:02Z","reason":"rejected_by_database","detail":"violates check (constraint slow)","sqlstate":"23514","device_id":"two","source_id":"7-2"}
`, r.stream)},
	}
	for name, c := range cases {
		require.Equal(t, outcome{ExitOK, c.want, ""}, r.run(append([]string{"dlq", "list"}, c.args...)...), name)
	}
	require.Equal(t, r.before, r.dead())
}

func TestDlqList_NamesTheStreamWhereThereAreSeveral(t *testing.T) {
	r := newLetterRig(t)
	got := r.run("dlq", "list", "--redis-stream", "absent:"+r.stream+","+r.stream, "--limit", "1")
	require.Contains(t, got.out, `not_json: \u001b[31m (stream `+r.stream+")\n")
	require.Contains(t, got.out, "1 of 3 dead letters listed")
}

func TestDlqShow_ShowsEveryField(t *testing.T) {
	r := newLetterRig(t)
	require.Equal(t, outcome{ExitOK, `id          2-0
stream      ` + r.stream + `
source id   7-2
time        2026-11-23T12:00:02.000Z
reason      rejected_by_database
detail      violates check (constraint slow)
sqlstate    23514
device      two
field       device_id = "two"
payload (213 bytes):
{
  "device_id": "two",
  "timestamp": "2025-06-01T12:00:00.000Z",
  "latitude": 54.5,
  "longitude": 25.25,
  "altitude": 100,
  "angle": 10,
  "speed": 20,
  "satellites": 9,
  "priority": 1,
  "attributes": {
    "78": {
      "__bigint": "12345678901234567890"
    }
  }
}
`, ""}, r.run("dlq", "show", "2-0"))

	raw := r.run("dlq", "show", "3-0")
	require.Contains(t, raw.out, `field       device_id = "\x1b[2J"`)
	require.Contains(t, raw.out, "payload (7 bytes):\n"+`"\x00\xff\x1b[31m"`+"\n")
	require.NotContains(t, raw.out, "\x1b")

	require.Equal(t, fmt.Sprintf(`{"stream":%q,"id":"3-0","time":"2026-11-23T12:00:03Z","reason":"not_json","detail":"not_json: \u001b[31m","device_id":"\u001b[2J","source_id":"7-3",`+
		`"fields":[{"name":"device_id","value":"\u001b[2J"},{"name":"payload","value_base64":"AP8bWzMxbQ=="}]}`+"\n", r.stream), r.run("dlq", "show", "--json", "3-0").out)

	require.Equal(t, outcome{ExitFailure, "", "processor: stream " + r.stream + " has no dead letter with the id or source id 4-0\n"}, r.run("dlq", "show", "4-0"))
	require.Equal(t, r.run("dlq", "show", "2-0"), r.run("dlq", "show", "7-2"), "by the id that the entry had")
	require.Equal(t, ExitUsage, r.run("dlq", "show", "x").code)
	several := r.run("dlq", "show", "1-0", "--redis-stream=a,b")
	require.Equal(t, outcome{ExitUsage, "", "processor: --redis-stream (REDIS_STREAM): ids need exactly one stream, since two may have the same\n"}, several)
}

func TestDlqReplay_GoesThroughTheWorker(t *testing.T) {
	r := newLetterRig(t)
	require.Equal(t, outcome{ExitOK, "2 replayed: 2 unread (no worker reads)\n", ""}, r.run("dlq", "replay", "--yes", "--reason", "missing_key,rejected_by_database"))
	require.Equal(t, []string{"ts=1 device_id=one payload=" + badPayload, "device_id=two payload=" + goodPayload}, r.source())
	require.Equal(t, r.before[2:], r.dead())

	stop := r.work()
	servertest.Until(r.t, "one row and two dead letters", func() bool { return len(r.rows()) == 1 && len(r.dead()) == 2 })
	stop()
	require.Equal(t, []string{`two 54.5 {"78": 12345678901234567890}`}, r.rows())
	again := r.dead()
	require.Equal(t, r.before[2], again[0])
	require.Contains(t, again[1], "ts=1 device_id=one payload="+badPayload+" dlq_reason=missing_key ")
	require.Zero(t, r.client.XPending(t.Context(), r.stream, "processor").Val().Count)
}

func TestDlqReplay_EndsWithWhatBecameOfThem(t *testing.T) {
	r := newLetterRig(t)
	r.put("4-0", deadletter.RejectedByDatabase, "violates check (constraint slow)", "23514", "device_id", "two", "payload", strings.Replace(goodPayload, "12:00:00", "12:00:01", 1))
	stop := r.work()
	servertest.Until(t, "the worker reads", func() bool {
		consumers, err := r.client.XInfoConsumers(t.Context(), r.stream, "processor").Result()
		return err == nil && len(consumers) == 1
	})
	got := r.run("dlq", "replay", "--yes", "--wait=1m")
	stop()
	require.Equal(t, outcome{ExitOK, "4 replayed: 2 rows, 2 dead letters again\n", ""}, got)
	require.Len(t, r.rows(), 2)
	require.Len(t, r.dead(), 2)
}

func TestDlqList_CountsByKey(t *testing.T) {
	r := newLetterRig(t)
	r.put("4-0", deadletter.NotJSON, "x", "", "device_id", "two", "payload", "x")
	r.put("5-0", deadletter.NotJSON, "x", "", "payload", "x")
	const all = "5 dead letters: 3 not_json, 1 missing_key, 1 rejected_by_database\n"
	cases := map[string]struct {
		args []string
		want string
	}{
		"reason": {[]string{"--by=reason"}, `    COUNT  NEWEST                    REASON                   REASONS
        3  2026-11-23T12:00:05.000Z  not_json                 3 not_json
        1  2026-11-23T12:00:01.000Z  missing_key              1 missing_key
        1  2026-11-23T12:00:02.000Z  rejected_by_database     1 rejected_by_database
` + all},
		"device": {[]string{"--by=device", "--limit=2"}, `    COUNT  NEWEST                    DEVICE                   REASONS
        2  2026-11-23T12:00:04.000Z  two                      1 not_json, 1 rejected_by_database
        1  2026-11-23T12:00:05.000Z  -                        1 not_json
2 of 4 devices shown
` + all},
		"hour": {[]string{"--by=hour"}, `    COUNT  NEWEST                    HOUR                     REASONS
        5  2026-11-23T12:00:05.000Z  2026-11-23T12:00Z        3 not_json, 1 missing_key, 1 rejected_by_database
` + all},
		"a filter": {[]string{"--by=device", "--reason=missing_key"}, `    COUNT  NEWEST                    DEVICE                   REASONS
        1  2026-11-23T12:00:01.000Z  one                      1 missing_key
1 dead letter: 1 missing_key
`},
		"none": {[]string{"--by=device", "--reason=too_deep"}, "no dead letters\n"},
		"json": {[]string{"--by=device", "--json", "--device=two"}, `{"by":"device","key":"two","count":2,"newest":"2026-11-23T12:00:04Z","by_reason":{"not_json":1,"rejected_by_database":1}}` + "\n"},
	}
	for name, c := range cases {
		require.Equal(t, outcome{ExitOK, c.want, ""}, r.run(append([]string{"dlq", "list"}, c.args...)...), name)
	}
}

// A million devices are counted in the memory of maxGroups.
func TestGroups_AreBounded(t *testing.T) {
	g := newGroups(byDevice)
	for i := range maxGroups + 5 {
		g.add(&deadletter.Letter{Device: fmt.Sprint(i), DeadLetter: stream.DeadLetter{Reason: string(deadletter.NotJSON)}})
	}
	g.add(&deadletter.Letter{Device: "0"})
	require.Len(t, g.sorted(), maxGroups)
	require.Equal(t, 5, g.others.Count)
	require.Equal(t, "0", g.sorted()[0].Key)
}

func TestDlqReplay_TakesIdsAndALimit(t *testing.T) {
	r := newLetterRig(t)
	missing := r.run("dlq", "replay", "--yes", "9-9", "3-0", "3-0")
	require.Equal(t, outcome{ExitFailure, "1 replayed: 1 unread (no worker reads)\n", "processor: 1 of the 2 ids named no dead letter that the filters choose\n"}, missing)
	require.Equal(t, r.before[:2], r.dead())
	require.Equal(t, outcome{ExitOK, "1 replayed: 1 unread (no worker reads)\n", ""}, r.run("dlq", "replay", "--yes", "--limit=1"))
	require.Equal(t, r.before[1:2], r.dead())
	require.Equal(t, []string{"device_id=\x1b[2J payload=" + rawPayload, "ts=1 device_id=one payload=" + badPayload}, r.source())
}

// The beginning of an entry is no entry: the worker would store what nobody published, or add a second dead letter.
func TestDlqReplay_LeavesWhatIsCut(t *testing.T) {
	const why = "only the beginning of the entry is kept. The entry is on its stream, as dlq_source_id, until it is trimmed\n"
	r := newLetterRig(t)
	r.put("4-0", deadletter.TooLarge, "larger", "", "payload", goodPayload)
	r.put("5-0", deadletter.TooLarge, "larger", "", "payload", badPayload)
	before := r.dead()

	require.Equal(t, outcome{ExitOK, "0 replayed\n2 dead letters left in the queue (too_large): " + why, ""},
		r.run("dlq", "replay", "--reason", "too_large"), "nothing to ask about")
	require.Equal(t, outcome{ExitFailure, "0 replayed\n", "processor: 1 dead letter (too_large) cannot be replayed: " + why},
		r.run("dlq", "replay", "--yes", "4-0"))
	require.Contains(t, r.run("dlq", "replay").err, "Replay 3 dead letters (1 missing_key, 1 not_json, 1 rejected_by_database)?")
	require.Equal(t, "4-0                 two                   fails: too_large: only the beginning of the entry is kept\n"+
		"1 dead letter tried: 0 would pass, 1 would fail\n", r.run("dlq", "replay", "--dry-run", "4-0").out)
	require.Equal(t, before, r.dead())
	require.Empty(t, r.source())

	require.Equal(t, outcome{ExitOK, "3 replayed: 3 unread (no worker reads)\n2 dead letters left in the queue (too_large): " + why, ""},
		r.run("dlq", "replay", "--yes", "--limit=9"))
	require.Len(t, r.source(), 3)
	require.Equal(t, before[3:], r.dead())
	require.Equal(t, outcome{ExitOK, "2 dead letters dropped\n", ""}, r.run("dlq", "drop", "--yes", "--reason=too_large"))
	require.Empty(t, r.dead())
}

func TestDlqReplay_DryRunChangesNothing(t *testing.T) {
	r := newLetterRig(t)
	one := "1-0                 one                   fails: timestamp: missing_key\n"
	three := `3-0                 \u001b[2J             fails: not_json: not valid UTF-8` + "\n"
	require.Equal(t, outcome{ExitOK, one +
		"2-0                 two                   passes: a new row\n" + three +
		"3 dead letters tried: 1 would pass, 2 would fail\n", ""}, r.run("dlq", "replay", "--dry-run"))
	require.Equal(t, "2-0                 two                   fails: timestamp_out_of_window: 2025-06-01T12:00:00Z is older than --max-age 1ns\n"+
		"1 dead letter tried: 0 would pass, 1 would fail\n", r.run("dlq", "replay", "--dry-run", "--max-age=1ns", "2-0").out)
	require.Equal(t, r.before, r.dead())
	require.Empty(t, r.source())
	require.Empty(t, r.rows())

	t.Setenv("DATABASE_URL", "")
	require.Equal(t, outcome{ExitOK, one +
		"2-0                 two                   passes: decodes\n" + three +
		"3 dead letters tried: 1 would pass, 2 would fail\n" +
		"only decoding was tried: set --database-url to try the rows too\n", ""}, r.run("dlq", "replay", "--dry-run"))
}

func TestDlq_AsksBeforeItChangesAnything(t *testing.T) {
	r := newLetterRig(t)
	// The tests' standard input is no terminal.
	require.Equal(t, outcome{ExitFailure, "", "processor: Replay 3 dead letters (1 missing_key, 1 not_json, 1 rejected_by_database)? " +
		"Nobody to ask, since standard input is not a terminal: add --yes\n"}, r.run("dlq", "replay"))
	require.Equal(t, outcome{ExitFailure, "", "processor: Delete 1 dead letter for good (1 not_json)? " +
		"Nobody to ask, since standard input is not a terminal: add --yes\n"}, r.run("dlq", "drop", "3-0"))
	require.Equal(t, r.before, r.dead())
	require.Empty(t, r.source())

	require.Equal(t, outcome{ExitOK, "0 dead letters dropped\n", ""}, r.run("dlq", "drop", "--reason=too_deep"), "nothing to ask about")
	require.Equal(t, outcome{ExitOK, "1 dead letter dropped\n", ""}, r.run("dlq", "drop", "--yes", "3-0"))
	require.Equal(t, r.before[:2], r.dead())
	require.Empty(t, r.source())
}

func TestAsk_TakesYesOnly(t *testing.T) {
	for answer, want := range map[string]error{"y\n": nil, "YES\n": nil, " y \n": nil, "\n": errNotConfirmed, "n\n": errNotConfirmed, "yess\n": errNotConfirmed, "": errNotConfirmed} {
		var out strings.Builder
		require.Equal(t, want, ask(t.Context(), strings.NewReader(answer), &out, "Sure?"), "%q", answer)
		require.Equal(t, "Sure? [y/N] ", out.String())
	}
	// Ctrl-C, and no answer.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	silent, silence, err := os.Pipe()
	require.NoError(t, err)
	var out strings.Builder
	require.Equal(t, errNotConfirmed, ask(ctx, silent, &out, "Sure?"))
	require.NoError(t, silence.Close())
	require.NoError(t, silent.Close())
}

func TestDlq_RefusesAnUnknownReason(t *testing.T) {
	r := newRig(t)
	got := r.run("dlq", "list", "--reason=bad_luck")
	require.Equal(t, ExitUsage, got.code)
	require.Contains(t, got.err, `--reason: "bad_luck" (environment variable DLQ_REASON) is not one or several of not_json, `)
	require.Contains(t, r.run("dlq", "list", "--help").out, "delivered_too_often")
}
