package cli

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/servertest"
	"processor/internal/stream"
	"processor/internal/trace"
)

// fix is a payload of a device, with a fix time on 1 June 2025.
func fix(device, clock string) string {
	return strings.NewReplacer(`"two"`, `"`+device+`"`, "12:00:00.000", clock).Replace(goodPayload)
}

// addAt adds an entry with an id at a time on 1 June 2025.
func (r *rig) addAt(clock, payload string) string {
	r.t.Helper()
	at, err := time.Parse(time.RFC3339, "2025-06-01T"+clock+"Z")
	require.NoError(r.t, err)
	id, err := r.client.XAdd(r.t.Context(), &redis.XAddArgs{Stream: r.stream, ID: fmt.Sprintf("%d-1", at.UnixMilli()), Values: []any{"payload", payload}}).Result()
	require.NoError(r.t, err)
	return id
}

// traced is one of each: the ids of their entries.
type traced struct {
	*rig
	row, dead, pending, unread, last string
}

func newTraced(t *testing.T) traced {
	r := traced{rig: newRig(t)}
	r.row = r.addAt("10:03:05", fix("row", "10:03:00"))
	r.dead = r.addAt("10:03:10", `{"device_id":"dead","timestamp":"2025-06-01T10:03:00Z"}`)
	stop := r.work()
	servertest.Until(t, "one row and one dead letter", func() bool {
		return len(r.rows()) == 1 && len(r.rig.dead()) == 1 && r.client.XPending(t.Context(), r.stream, "processor").Val().Count == 0
	})
	stop()
	r.pending = r.addAt("10:04:00", fix("pending", "10:03:30"))
	r.unread = r.addAt("10:05:00", fix("unread", "10:03:40"))
	r.last = r.addAt("10:06:00", fix("unread", "10:05:50"))
	c := stream.NewConsumer(r.client, r.stream, "processor", "pod-1")
	_, err := c.ReadNew(t.Context(), new(stream.Batch), 1, time.Second, nil)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	return r
}

// lines are the answers, without what differs from run to run.
func (r traced) lines(args ...string) (int, []string) {
	got := r.run(append([]string{"trace"}, args...)...)
	text := got.out + got.err
	for _, p := range [][2]string{
		{`committed [0-9T:.Z-]+ \([0-9.hms]+ ago\)`, "committed TIME"},
		{`[0-9.hms]+ ago`, "AGE ago"},
		{`^(dead letter +)[0-9]+-[0-9]+`, "${1}LETTER"},
	} {
		text = regexp.MustCompile(`(?m)`+p[0]).ReplaceAllString(text, p[1])
	}
	text = strings.ReplaceAll(text, r.stream, "STREAM")
	return got.code, strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

func TestTrace_FindsOneOfEach(t *testing.T) {
	r := newTraced(t)
	all := "searched      5 of 5 entries of STREAM (" + r.row + " to " + r.last + "), 1 of 1 dead letters; the stream begins at 2025-06-01T10:03:05.000Z"
	byID := "searched      1 of 5 entries of STREAM, 1 of 1 dead letters"
	row := "row           device row, fix of 2025-06-01T10:03:00.000Z, committed TIME; entry " + r.row + " of STREAM has its key"
	pending := "pending       entry " + r.pending + " of STREAM, added 2025-06-01T10:04:00.000Z, device pending, fix of 2025-06-01T10:03:30.000Z, delivered to pod-1 AGE ago, 1 time"
	first := "unread        entry " + r.unread + " of STREAM, added 2025-06-01T10:05:00.000Z, device unread, fix of 2025-06-01T10:03:40.000Z, at position 1"
	second := "unread        entry " + r.last + " of STREAM, added 2025-06-01T10:06:00.000Z, device unread, fix of 2025-06-01T10:05:50.000Z, at position 2"
	letter := "dead letter   LETTER of STREAM, from entry " + r.dead + ", AGE ago: missing_key: latitude: missing_key"
	deadEntry := "acknowledged  entry " + r.dead + " of STREAM, added 2025-06-01T10:03:10.000Z: latitude: missing_key"
	none := "processor: not found, as far as it was searched"
	at := []string{"--at=2025-06-01T10:03:20Z"}
	cases := map[string]struct {
		args []string
		code int
		want []string
	}{
		"row":                {append(at, "--device=row"), ExitOK, []string{row, all}},
		"row by entry":       {[]string{r.row}, ExitOK, []string{row, byID}},
		"pending":            {append(at, "--device=pending"), ExitOK, []string{pending, all}},
		"pending by entry":   {[]string{r.pending}, ExitOK, []string{pending, byID}},
		"unread":             {append(at, "--device=unread"), ExitOK, []string{first, all}},
		"unread, two":        {append(at, "--device=unread", "--within=10m"), ExitOK, []string{first, second, all}},
		"unread by entry":    {[]string{r.last}, ExitOK, []string{second, byID}},
		"dead letter":        {append(at, "--device=dead"), ExitOK, []string{deadEntry, letter, all}},
		"dead letter by id":  {[]string{r.dead}, ExitOK, []string{deadEntry, letter, byID}},
		"never seen":         {append(at, "--device=other"), ExitFailure, []string{"not found     device other: never seen, as far as it was searched", all, none}},
		"never seen by time": {[]string{"--device=row", "--at=2025-06-01T10:02:00Z"}, ExitFailure, []string{"not found     device row: never seen, as far as it was searched", all, none}},
		"never seen by id": {[]string{"99999999999999-1"}, ExitFailure, []string{"not found     entry 99999999999999-1 of STREAM: never seen, as far as it was searched",
			"searched      0 of 5 entries of STREAM, 1 of 1 dead letters", none}},
		"between others": {[]string{strings.TrimSuffix(r.unread, "1") + "2"}, ExitFailure, []string{
			"not found     entry " + strings.TrimSuffix(r.unread, "1") + "2 of STREAM: never seen, as far as it was searched",
			"searched      0 of 5 entries of STREAM, 1 of 1 dead letters", none}},
		"the newest": {[]string{"--device=unread"}, ExitOK, []string{second,
			"searched      1 of 5 entries of STREAM (" + r.last + " to " + r.last + "), 1 of 1 dead letters; the stream begins at 2025-06-01T10:03:05.000Z"}},
		"a bounded scan": {append(at, "--device=unread", "--within=10m", "--scan=4"), ExitOK, []string{first,
			"searched      4 of 5 entries of STREAM (" + r.row + " to " + r.unread + "), 1 of 1 dead letters; the stream begins at 2025-06-01T10:03:05.000Z"}},
		"a bounded count": {[]string{r.last, "--scan=1"}, ExitOK, []string{strings.Replace(second, "at position 2", "behind position 1", 1), byID}},
	}
	for name, c := range cases {
		code, lines := r.lines(c.args...)
		require.Equal(t, c.want, lines, name)
		require.Equal(t, c.code, code, name)
	}
	_, lines := r.lines("--device=row,pending", "--within=0s", "--at=2025-06-01T10:03:30Z")
	require.Equal(t, []string{"not found     device row: never seen, as far as it was searched", all, pending, all}, lines)

	// The row stays when its entry is trimmed, and nobody can tell what became of an entry by its id alone.
	require.NoError(t, r.client.XTrimMinID(t.Context(), r.stream, r.unread).Err())
	code, lines := r.lines("--device=row")
	require.Equal(t, ExitOK, code)
	require.Equal(t, "row           device row, fix of 2025-06-01T10:03:00.000Z, committed TIME", lines[0])
	code, lines = r.lines(r.row)
	require.Equal(t, ExitFailure, code)
	require.Contains(t, lines[0], "unknown       entry "+r.row+" of STREAM: before what the group has read, and no longer on the stream")
	code, lines = r.lines(r.pending)
	require.Equal(t, ExitOK, code)
	require.Equal(t, "pending       entry "+r.pending+" of STREAM, added 2025-06-01T10:04:00.000Z, delivered to pod-1 AGE ago, 1 time: trimmed or deleted meanwhile: only its worker can still have it", lines[0])

	require.NoError(t, r.client.XTrimMaxLen(t.Context(), r.stream, 1).Err())
	code, lines = r.lines(r.unread)
	require.Equal(t, ExitOK, code)
	require.Equal(t, "trimmed       entry "+r.unread+" of STREAM, added 2025-06-01T10:05:00.000Z: the group never had it", lines[0])
}

func TestTrace_WritesJSON(t *testing.T) {
	r := newTraced(t)
	got := r.run("trace", "--json", "--device=row", "--at=2025-06-01T10:03:00Z")
	require.Equal(t, ExitOK, got.code, got.err)
	lines := strings.Split(strings.TrimSpace(got.out), "\n")
	require.Len(t, lines, 2)
	var row, searched trace.Answer
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &row))
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &searched))
	require.Equal(t, []string{"row", r.stream, r.row, "row"}, []string{row.Kind, row.Stream, row.EntryID, row.Device})
	require.Equal(t, time.Date(2025, 6, 1, 10, 3, 0, 0, time.UTC), *row.Fix)
	require.NotNil(t, row.Committed)
	require.Equal(t, trace.Searched, searched.Kind)
	require.Equal(t, int64(5), searched.Length)
}

func TestTrace_AnswersWithoutTheDatabase(t *testing.T) {
	r := newTraced(t)
	t.Setenv("DATABASE_URL", "postgres://u:topsecret@127.0.0.1:1/x?sslmode=disable")
	code, lines := r.lines("--device=pending")
	require.Equal(t, ExitFailure, code)
	require.Contains(t, lines[0], "pending       entry "+r.pending)
	require.Contains(t, lines[1], "unknown       device pending: rows: connect to PostgreSQL: ")
	require.Equal(t, "processor: not every server could be asked", lines[len(lines)-1])
	require.NotContains(t, strings.Join(lines, "\n"), "topsecret")
}

func TestTrace_WantsADeviceOrAnEntry(t *testing.T) {
	r := newRig(t)
	for problem, args := range map[string][]string{
		"either a device or the id of an entry": {},
		"either a device or the id":             {"--device=a", "1-1"},
		"an entry id needs no time":             {"--since=1h", "1-1"},
		"set together with --at":                {"--device=a", "--since=1h", "--at=2025-06-01T12:00:00Z"},
	} {
		got := r.run(append([]string{"trace"}, args...)...)
		require.Equal(t, ExitUsage, got.code, got.err)
		require.Contains(t, got.err, problem)
		require.Empty(t, got.out)
	}
}

// What is missing in the ACL is named so that the rule that status, trace and dlq print grants it.
func TestRights_AreNamedWithTheACLThatGrantsThem(t *testing.T) {
	r := newLetterRig(t)
	require.NoError(t, r.client.XGroupCreateMkStream(t.Context(), r.stream, "processor", "0").Err())
	commands := [][]string{ // in an order in which each has something to do
		{"status"},
		{"trace", "--device=one"},
		{"dlq", "list"},
		{"dlq", "list", "--by=device"},
		{"dlq", "show", "7-1"},
		{"dlq", "replay", "--yes", "--limit=1"},
		{"dlq", "replay", "--dry-run"},
		{"dlq", "drop", "--yes", "--newer=876000h", "--limit=1"},
	}
	for n, args := range commands {
		name := strings.Join(args, " ")
		user := fmt.Sprintf("rights-%d", n)
		set := func(rules ...any) {
			require.NoError(t, r.client.Do(t.Context(), append([]any{"acl", "setuser", user}, rules...)...).Err(), rules)
		}
		set("reset", "on", ">pw", "+ping")
		t.Cleanup(func() { _ = r.client.Do(t.Context(), "acl", "deluser", user) })
		t.Setenv("REDIS_URL", strings.Replace(servertest.Redis(t), "redis://", "redis://"+user+":pw@", 1))
		got := r.run(args...)
		require.Equal(t, ExitFailure, got.code, name)
		m := regexp.MustCompile(`Fix: ACL SETUSER ` + user + ` (.*)`).FindStringSubmatch(got.out + got.err)
		require.NotNil(t, m, "%s: %s", name, got.out+got.err)
		var rules []any
		for _, rule := range regexp.MustCompile(`\([^)]*\)|\S+`).FindAllString(m[1], -1) {
			rules = append(rules, rule)
		}
		set(rules...)
		got = r.run(args...)
		require.NotContains(t, got.out+got.err, "NOPERM", name)
		require.Empty(t, got.err, name)
	}
}

func TestIDs_NextAndPrevious(t *testing.T) {
	for _, id := range []stream.ID{{}, {Millis: 5}, {Millis: 5, Seq: 7}, {Millis: 5, Seq: math.MaxUint64}} {
		require.Equal(t, id, id.Next().Previous())
		require.Positive(t, id.Next().Compare(id))
	}
	require.Equal(t, stream.MaxID(), stream.MaxID().Next())
	require.Equal(t, stream.ID{}, stream.ID{}.Previous())
}
