package stream

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
)

const shortBlock = 10 * time.Millisecond

func TestConsumer_ReadsAcknowledgesAndLeaves(t *testing.T) {
	f := newFixture(t)
	created, err := f.EnsureGroup(t.Context())
	require.NoError(t, err)
	require.True(t, created)
	created, err = f.EnsureGroup(t.Context())
	require.NoError(t, err)
	require.False(t, created, "it was there")

	empty, err := f.readNew(t, 10)
	require.NoError(t, err)
	require.Empty(t, empty.Entries)

	a := f.add(t, "ts", "1", "device_id", "d", "codec", "8E", "payload", "first")
	b := f.add(t, "payload", "second \r\n$5\r\n", "more", "")
	c := f.add(t, "other", "field")
	first, err := f.readNew(t, 2)
	require.NoError(t, err)
	require.False(t, first.Redelivered)
	require.Equal(t, []ID{a, b}, ids(first))
	require.Equal(t, "first", string(first.Entries[0].Payload))
	require.Equal(t, "second \r\n$5\r\n", string(first.Entries[1].Payload))
	second, err := f.readNew(t, 2)
	require.NoError(t, err)
	require.Equal(t, []ID{c}, ids(second))
	require.Nil(t, second.Entries[0].Payload)
	require.Equal(t, map[string]int64{"me " + a.String(): 1, "me " + b.String(): 1, "me " + c.String(): 1}, f.pending(t))

	left, err := f.Leave(t.Context())
	require.NoError(t, err)
	require.False(t, left, "entries are pending")
	require.Len(t, f.pending(t), 3, "and they stay so")

	for _, want := range []int{2, 0} { // twice is harmless
		n, err := f.Ack(t.Context(), []ID{a, c})
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	_, err = f.Ack(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"me " + b.String(): 1}, f.pending(t))

	_, err = f.Ack(t.Context(), []ID{b})
	require.NoError(t, err)
	left, err = f.Leave(t.Context())
	require.NoError(t, err)
	require.True(t, left)
	consumers, err := f.client.XInfoConsumers(t.Context(), f.stream, f.group).Result()
	require.NoError(t, err)
	require.Empty(t, consumers)
}

func TestConsumer_ReadsWhatIsPendingAgain(t *testing.T) {
	f := newFixture(t)
	_, err := f.EnsureGroup(t.Context())
	require.NoError(t, err)
	var added []ID
	for range 5 {
		added = append(added, f.add(t, "payload", "x"))
	}
	_, err = f.readNew(t, 4)
	require.NoError(t, err)
	require.NoError(t, f.client.XDel(t.Context(), f.stream, added[1].String()).Err())

	first, err := f.ReadPending(t.Context(), ID{}, 2)
	require.NoError(t, err)
	require.True(t, first.Redelivered)
	require.Equal(t, added[:2], ids(first))
	require.Equal(t, []bool{false, true}, []bool{first.Entries[0].Trimmed, first.Entries[1].Trimmed})
	rest, err := f.ReadPending(t.Context(), added[1], 10)
	require.NoError(t, err)
	require.Equal(t, added[2:4], ids(rest), "the fifth was never delivered")
	none, err := f.ReadPending(t.Context(), added[3], 10)
	require.NoError(t, err)
	require.Empty(t, none.Entries)
}

func TestConsumer_TellsThatTheGroupIsGone(t *testing.T) {
	f := newFixture(t)
	_, err := f.readNew(t, 1)
	require.ErrorIs(t, err, ErrNoGroup)
	_, err = f.ReadPending(t.Context(), ID{}, 1)
	require.ErrorIs(t, err, ErrNoGroup)
	left, err := f.Leave(t.Context())
	require.NoError(t, err)
	require.True(t, left, "who is in no group has left it")
	stats, err := f.Stats(t.Context())
	require.NoError(t, err)
	require.Equal(t, Stats{}, stats)
}

func TestConsumer_BeginsAtTheFirstEntry(t *testing.T) {
	f := newFixture(t)
	a := f.add(t, "payload", "before the group")
	_, err := f.EnsureGroup(t.Context())
	require.NoError(t, err)
	b, err := f.readNew(t, 10)
	require.NoError(t, err)
	require.Equal(t, []ID{a}, ids(b))
}

func TestConsumer_DeadLettersWithEveryField(t *testing.T) {
	f := newFixture(t)
	_, err := f.EnsureGroup(t.Context())
	require.NoError(t, err)
	a := f.add(t, "ts", "1", "device_id", "d", "codec", "8E", "payload", "\x00\xff")
	b := f.add(t, "payload", "good")
	batch, err := f.readNew(t, 10)
	require.NoError(t, err)

	f.deadLetter(t, nil)
	letters := []Letter{{Entry: &batch.Entries[0], Reason: "not_json", Detail: "not valid UTF-8", SQLState: "22021"}}
	// Where the copy fails, nothing is acknowledged.
	require.NoError(t, f.client.Set(t.Context(), DeadKey(f.stream), "no stream", 0).Err())
	_, err = f.DeadLetter(t.Context(), letters)
	require.Error(t, err)
	require.Len(t, f.pending(t), 2)
	require.NoError(t, f.client.Del(t.Context(), DeadKey(f.stream)).Err())

	for range 2 { // again, as after a lost answer
		f.deadLetter(t, letters)
	}
	require.Equal(t, map[string]int64{"me " + b.String(): 1}, f.pending(t))
	dead, err := f.client.XRange(t.Context(), "{"+f.stream+"}:dead", "-", "+").Result()
	require.NoError(t, err)
	require.Len(t, dead, 1)
	at, err := time.Parse(time.RFC3339Nano, dead[0].Values[FieldTime].(string))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), at, time.Minute)
	delete(dead[0].Values, FieldTime)
	require.Equal(t, map[string]any{
		"ts": "1", "device_id": "d", "codec": "8E", "payload": "\x00\xff",
		FieldReason: "not_json", FieldDetail: "not valid UTF-8", FieldSourceID: a.String(), FieldSQLState: "22021",
	}, dead[0].Values)
}

// MULTI undoes nothing. Where the copy cannot be written the entry must stay pending.
func TestConsumer_AcknowledgesNothingWithoutItsCopy(t *testing.T) {
	f := newFixture(t)
	_, err := f.EnsureGroup(t.Context())
	require.NoError(t, err)
	a := f.add(t, "payload", "x")
	batch, err := f.readNew(t, 10)
	require.NoError(t, err)
	dead := DeadKey(f.stream)
	require.NoError(t, f.client.Set(t.Context(), dead, "no stream", 0).Err())
	letters := []Letter{{Entry: &batch.Entries[0], Reason: "not_json"}}
	_, err = f.DeadLetter(t.Context(), letters)
	require.True(t, redis.HasErrorPrefix(err, "WRONGTYPE"))
	require.Equal(t, map[string]int64{"me " + a.String(): 1}, f.pending(t))

	require.NoError(t, f.client.Del(t.Context(), dead).Err())
	f.deadLetter(t, letters)
	require.Empty(t, f.pending(t))
	require.Equal(t, int64(1), f.client.XLen(t.Context(), dead).Val())
}

// Lua cannot hand that many values to XADD: without a bound the entry could never be buried.
func TestConsumer_DeadLettersAnEntryOfManyFields(t *testing.T) {
	f := newFixture(t)
	_, err := f.EnsureGroup(t.Context())
	require.NoError(t, err)
	var fields []any
	for i := range 9_997 {
		fields = append(fields, i, "x")
	}
	// What a replay needs comes last, and once more at the beginning.
	contract := []any{"ts", "1", "device_id", "d", "payload", "p"}
	f.add(t, append(append([]any{"payload", "overridden"}, fields[:len(fields)-2]...), contract...)...)
	var batch Batch
	_, err = f.ReadNew(t.Context(), &batch, 10, shortBlock, nil)
	require.NoError(t, err)
	f.deadLetter(t, []Letter{{Entry: &batch.Entries[0], Reason: "not_json", Detail: "no payload"}})
	require.Empty(t, f.pending(t))
	letters, err := NewestDeadLetters(t.Context(), f.client, f.stream, 1)
	require.NoError(t, err)
	require.Equal(t, "no payload (3900 of its 10000 fields are kept)", letters[0].Detail)
	kept := flat(letters[0].Fields)
	require.Len(t, kept, 2*mostFields)
	require.Equal(t, []any{"payload", "overridden", "0", "x"}, kept[:4])
	require.Equal(t, append([]any{"3895", "x"}, contract...), kept[len(kept)-8:])
	require.Equal(t, "p", string(letters[0].Value("payload")))
}

func TestConsumer_Stats(t *testing.T) {
	f := newFixture(t)
	_, err := f.EnsureGroup(t.Context())
	require.NoError(t, err)
	for range 3 {
		f.add(t, "payload", "x")
	}
	batch, err := f.readNew(t, 1)
	require.NoError(t, err)
	f.deadLetter(t, []Letter{{Entry: &batch.Entries[0]}})
	_, err = f.readNew(t, 1)
	require.NoError(t, err)

	stats, err := f.Stats(t.Context())
	require.NoError(t, err)
	require.InDelta(t, 0, stats.OldestPending.Seconds(), 30)
	lag := int64(1)
	require.Equal(t, Stats{
		Length: 3, Lag: &lag, Pending: 1, OldestPending: stats.OldestPending,
		Exists: true, Added: counted(3), Read: counted(2), grouped: true, lastDelivered: stats.lastDelivered, run: stats.run, right: counted(2),
	}, stats)

	letters, err := f.DeadLetterLength(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(1), letters)

	// Deleted in the middle of what is unread: Redis does not know the lag any more.
	last := f.add(t, "payload", "x")
	f.add(t, "payload", "x")
	require.NoError(t, f.client.XDel(t.Context(), f.stream, last.String()).Err())
	stats, err = f.Stats(t.Context())
	require.NoError(t, err)
	require.Nil(t, stats.Lag)
}

// Entries that were trimmed before they were read are counted once, and the lag is true again.
func TestConsumer_FindsWhatWasTrimmedUnread(t *testing.T) {
	f := newFixture(t)
	_, err := f.EnsureGroup(t.Context())
	require.NoError(t, err)
	for range 10 {
		f.add(t, "payload", "x")
	}
	_, err = f.readNew(t, 3)
	require.NoError(t, err)
	trimmed := func() (int64, Stats) {
		stats, err := f.Stats(t.Context())
		require.NoError(t, err)
		return stats.TrimmedUnread, stats
	}
	n, _ := trimmed()
	require.Zero(t, n)
	require.NoError(t, f.client.XTrimMaxLen(t.Context(), f.stream, 8).Err())
	n, _ = trimmed()
	require.Zero(t, n, "those were read")

	require.NoError(t, f.client.XTrimMaxLen(t.Context(), f.stream, 2).Err())
	n, stats := trimmed()
	require.Equal(t, int64(5), n)
	settled, err := f.Settle(t.Context(), stats)
	require.NoError(t, err)
	require.True(t, settled)
	settled, err = f.Settle(t.Context(), stats)
	require.NoError(t, err)
	require.False(t, settled, "another replica would count it twice")
	n, stats = trimmed()
	require.Zero(t, n)
	require.Equal(t, int64(2), *stats.Lag)

	batch, err := f.readNew(t, 10)
	require.NoError(t, err)
	require.Len(t, batch.Entries, 2, "the group stands where it stood")
	n, stats = trimmed()
	require.Zero(t, n)
	require.Equal(t, int64(0), *stats.Lag)

	// Trimmed while nobody looked, and everything after it read already.
	for range 4 {
		f.add(t, "payload", "x")
	}
	require.NoError(t, f.client.XTrimMaxLen(t.Context(), f.stream, 1).Err())
	batch, err = f.readNew(t, 10)
	require.NoError(t, err)
	n, _ = trimmed()
	require.Equal(t, int64(3), n+batch.TrimmedUnread, "the read finds it where Redis counts anew (8.0), else Stats")
}

// Entries that are deleted before the group has them: Redis of any version counts them as read once
// the group has the last one, so only the read that does so can tell.
func TestConsumer_FindsWhatWasDeletedUnread(t *testing.T) {
	f := newFixture(t)
	_, err := f.EnsureGroup(t.Context())
	require.NoError(t, err)
	var added []string
	for range 10 {
		added = append(added, f.add(t, "payload", "x").String())
	}
	batch, err := f.readNew(t, 3)
	require.NoError(t, err)
	require.Zero(t, batch.TrimmedUnread)
	require.NoError(t, f.client.XDel(t.Context(), f.stream, added[1], added[5], added[7]).Err())

	batch, err = f.readNew(t, 10)
	require.NoError(t, err)
	require.Len(t, batch.Entries, 5)
	require.Equal(t, int64(2), batch.TrimmedUnread, "the other one was read")
	batch, err = f.readNew(t, 10)
	require.NoError(t, err)
	require.Zero(t, batch.TrimmedUnread, "counted once")
	stats, err := f.Stats(t.Context())
	require.NoError(t, err)
	require.Zero(t, stats.TrimmedUnread)
}

// Redis without memory refuses transactions. It is read all the same.
func TestConsumer_ReadsWhereRedisHasNoMemory(t *testing.T) {
	server := servertest.NewRedis(t, sandbox.RedisOptions{})
	client, err := Connect(server.URL())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	c := NewConsumer(client, "s", "processor", "me")
	_, err = c.EnsureGroup(t.Context())
	require.NoError(t, err)
	f := fixture{client, c}
	first, second := f.add(t, "payload", "x"), f.add(t, "payload", "y")
	require.NoError(t, client.ConfigSet(t.Context(), "maxmemory", "1").Err())
	for _, id := range []ID{first, second} {
		batch, err := f.readNew(t, 1)
		require.NoError(t, err)
		require.Equal(t, []ID{id}, ids(batch))
	}
	batch, err := f.readNew(t, 1)
	require.NoError(t, err)
	require.Empty(t, batch.Entries)
}

func TestConsumer_ClaimsFromOthers(t *testing.T) {
	f := newFixture(t)
	other := NewConsumer(f.client, f.stream, f.group, "other")
	_, err := f.EnsureGroup(t.Context())
	require.NoError(t, err)
	var added []ID
	for range 5 {
		added = append(added, f.add(t, "payload", "x"))
	}
	_, err = readNew(t, other, 4)
	require.NoError(t, err)
	_, err = other.ReadPending(t.Context(), ID{}, 2) // delivers two of them again
	require.NoError(t, err)
	require.NoError(t, f.client.XDel(t.Context(), f.stream, added[1].String()).Err())

	claimed, err := f.Claim(t.Context(), time.Hour, Cursor{}, 10)
	require.NoError(t, err)
	require.Empty(t, claimed.Entries, "nothing is idle for that long")
	require.Equal(t, added[1:2], claimed.Trimmed, "but what is trimmed goes at once")

	claimed, err = f.Claim(t.Context(), 0, Cursor{}, 2)
	require.NoError(t, err)
	require.True(t, claimed.Redelivered)
	require.Equal(t, []ID{added[0], added[2]}, ids(claimed.Batch))
	require.Empty(t, claimed.Trimmed)
	require.False(t, claimed.Next.AtBeginning())
	claimed, err = f.Claim(t.Context(), 0, claimed.Next, 10)
	require.NoError(t, err)
	require.Equal(t, added[3:4], ids(claimed.Batch))
	require.True(t, claimed.Next.AtBeginning())

	require.Equal(t, map[string]int64{"me " + added[0].String(): 3, "me " + added[2].String(): 2, "me " + added[3].String(): 2}, f.pending(t))
	counts, err := f.Deliveries(t.Context(), claimed.Batch)
	require.NoError(t, err)
	require.Equal(t, map[ID]int64{added[3]: 2}, counts)

	_, err = f.Ack(t.Context(), added)
	require.NoError(t, err)
	gone, err := f.RemoveGone(t.Context(), time.Hour)
	require.NoError(t, err)
	require.Empty(t, gone)
	_, err = readNew(t, NewConsumer(f.client, f.stream, f.group, "busy"), 1)
	require.NoError(t, err)
	gone, err = f.RemoveGone(t.Context(), 0)
	require.NoError(t, err)
	require.Equal(t, []string{"other"}, gone, "busy holds an entry")
}

// Between two entries that were claimed may lie any number that this consumer holds anyway.
func TestConsumer_FindsDeliveriesAmongManyOthers(t *testing.T) {
	f := newFixture(t)
	_, err := f.EnsureGroup(t.Context())
	require.NoError(t, err)
	added := make([]ID, 2*pendingPage+2)
	pipe := f.client.Pipeline()
	for i := range added {
		added[i] = ID{1, uint64(i + 1)}
		pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: f.stream, ID: added[i].String(), Values: []any{"payload", "x"}})
	}
	_, err = pipe.Exec(t.Context())
	require.NoError(t, err)
	for _, count := range []int{1, len(added) - 2, 1} {
		_, err = f.readNew(t, count)
		require.NoError(t, err)
	}
	first, last := added[0], added[len(added)-1]
	_, err = f.ReadPending(t.Context(), ID{}, 1)
	require.NoError(t, err)
	f.ack(t, added[1])

	counts, err := f.Deliveries(t.Context(), Batch{Entries: []Entry{{ID: first}, {ID: added[1]}, {ID: last}}})
	require.NoError(t, err)
	require.Equal(t, map[ID]int64{first: 2, last: 1}, counts)
}

func TestConnect_TakesEveryKindOfServer(t *testing.T) {
	cases := map[string]any{
		"redis://user:pw@localhost:6379/3":                      &redis.Client{},
		"rediss://localhost:6379":                               &redis.Client{},
		"unix:///run/redis.sock?db=2":                           &redis.Client{},
		"redis://localhost:26379/0?master_name=m":               &redis.Client{}, // Sentinel
		"rediss://u:p@localhost:6379?addr=b:6379&addr=c:6379":   &redis.ClusterClient{},
		"redis://localhost:26379?master_name=m&addr=other:2638": &redis.Client{},
	}
	for url, want := range cases {
		client, err := Connect(url)
		require.NoError(t, err, url)
		require.IsType(t, want, client, url)
		require.NoError(t, client.Close())
	}
	for _, url := range []string{"", "localhost:6379", "http://localhost", "redis://u:secret@host:port", "redis://u:secret@localhost/x", "redis://:sec ret@%zz"} {
		_, err := Connect(url)
		require.Error(t, err, url)
		require.NotContains(t, err.Error(), "secret")
		require.NotContains(t, err.Error(), "sec ret")
	}
}

// A read of many large entries is given up, and loses nothing; read one by one they come.
func TestConsumer_BoundsAReply(t *testing.T) {
	f := newFixture(t)
	f.MaxReply = 1 << 20
	_, err := f.EnsureGroup(t.Context())
	require.NoError(t, err)
	large := strings.Repeat("x", 2<<20)
	added := []ID{f.add(t, "payload", "small"), f.add(t, "payload", large), f.add(t, "payload", large)}
	var tooLarge *BrokenReplyError
	_, err = f.readNew(t, 3)
	require.ErrorAs(t, err, &tooLarge)
	require.Equal(t, 3, tooLarge.Entries)
	require.LessOrEqual(t, tooLarge.Bytes, f.MaxReply)
	_, err = f.ReadPending(t.Context(), ID{}, 3)
	require.ErrorAs(t, err, &tooLarge)
	_, err = f.Claim(t.Context(), 0, Cursor{}, 3)
	require.ErrorAs(t, err, &tooLarge)
	var after ID
	for _, id := range added {
		b, err := f.ReadPending(t.Context(), after, 1)
		require.NoError(t, err)
		require.Equal(t, []ID{id}, ids(b))
		after = id
	}
	last := f.add(t, "payload", large)
	b, err := f.readNew(t, 1)
	require.NoError(t, err)
	require.Equal(t, []ID{last}, ids(b))
	require.Len(t, b.Entries[0].Payload, len(large))
}

func TestParseID_TakesWhatRedisWrites(t *testing.T) {
	for text, want := range map[string]ID{
		"0-0":             {},
		"1749827887123-7": {1749827887123, 7},
		"18446744073709551615-18446744073709551615": {math.MaxUint64, math.MaxUint64},
	} {
		id, err := ParseID(text)
		require.NoError(t, err, text)
		require.Equal(t, want, id)
		require.Equal(t, text, id.String())
	}
	for _, text := range []string{"", "1", "1-", "-1", "1-x", "1-2-3", "+1-2", " 1-2", "18446744073709551616-0", "0-18446744073709551616"} {
		_, err := ParseID(text)
		require.ErrorContains(t, err, strconv.Quote(text))
	}
}

func TestParseRead_RefusesWhatIsNoReply(t *testing.T) {
	good := "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-2\r\n*2\r\n$7\r\npayload\r\n$1\r\nx\r\n"
	entries, err := parseRead(nil, []byte(good))
	require.NoError(t, err)
	require.Equal(t, ID{1, 2}, entries[0].ID)
	for cut := range len(good) {
		entries, err := parseRead(nil, []byte(good[:cut]))
		require.Error(t, err, "cut to %d bytes: %v", cut, entries)
	}
	for _, bad := range []string{":1\r\n", "*1\r\n:1\r\n", strings.Replace(good, "1-2", "1x2", 1), strings.Replace(good, "$3\r\n1-2", "$22\r\n18446744073709551616-2", 1), strings.Replace(good, "$7", "$9999999999999999999", 1)} {
		_, err := parseRead(nil, []byte(bad))
		require.Error(t, err, bad)
	}
	_, err = parseRead(nil, []byte("-NOGROUP No such key\r\n"))
	require.True(t, redis.HasErrorPrefix(err, "NOGROUP"))
	none, err := parseRead(nil, []byte("*-1\r\n"))
	require.NoError(t, err)
	require.Empty(t, none)
}

func TestParseClaim_NamesTheVersionThatIsNeeded(t *testing.T) {
	_, err := (&Claimed{}).parse(nil, []byte("*2\r\n$3\r\n0-0\r\n*0\r\n")) // as Redis 6.2 answers
	require.ErrorIs(t, err, errTooOld)
	for _, bad := range []string{"", ":1\r\n", "*1\r\n$3\r\n0-0\r\n", "*-1\r\n"} {
		_, err := (&Claimed{}).parse(nil, []byte(bad))
		require.ErrorIs(t, err, errProtocol, bad)
	}
}

func FuzzParseRead(f *testing.F) {
	f.Add([]byte("*1\r\n*2\r\n$1\r\ns\r\n*2\r\n*2\r\n$3\r\n1-2\r\n*2\r\n$7\r\npayload\r\n$1\r\nx\r\n*2\r\n$3\r\n1-3\r\n*-1\r\n"))
	f.Fuzz(func(t *testing.T, reply []byte) {
		entries, err := parseRead(nil, reply)
		if err != nil {
			return
		}
		for i := range entries {
			fields := 0
			for range entries[i].Fields {
				fields++
			}
			require.Equal(t, max(entries[i].count, 0)/2, fields)
		}
	})
}

func BenchmarkParseRead(b *testing.B) {
	var reply strings.Builder
	reply.WriteString("*1\r\n*2\r\n$1\r\ns\r\n*1000\r\n")
	for range 1000 {
		reply.WriteString("*2\r\n$15\r\n1749827887123-0\r\n*8\r\n$2\r\nts\r\n$24\r\n2025-06-13T15:18:07.000Z\r\n$9\r\ndevice_id\r\n$15\r\n356307044000001\r\n$5\r\ncodec\r\n$2\r\n8E\r\n$7\r\npayload\r\n$400\r\n" + strings.Repeat("x", 400) + "\r\n")
	}
	raw := []byte(reply.String())
	b.SetBytes(int64(len(raw)) / 1000)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		if n%1000 != 0 { // one operation is one entry
			continue
		}
		if _, err := parseRead(nil, raw); err != nil {
			b.Fatal(err)
		}
	}
}

// deadLetter moves the entries and returns which of them this call wrote.
func (f *fixture) deadLetter(t testing.TB, letters []Letter) []bool {
	written, err := f.DeadLetter(t.Context(), letters)
	require.NoError(t, err)
	return written
}
