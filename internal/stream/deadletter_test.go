package stream

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
)

// readBad adds an entry, reads it and returns it as a letter.
func (f fixture) readBad(t testing.TB) []Letter {
	_, err := f.EnsureGroup(t.Context())
	require.NoError(t, err)
	f.add(t, "payload", "bad")
	batch, err := f.readNew(t, 1)
	require.NoError(t, err)
	require.Len(t, batch.Entries, 1)
	return []Letter{{Entry: &batch.Entries[0], Reason: "not_json", Detail: "d"}}
}

func (f fixture) dead(t testing.TB) int64 {
	n, err := f.DeadLetterLength(t.Context())
	require.NoError(t, err)
	return n
}

// Whatever somebody does while the entry is in flight: exactly one copy, acknowledged where it is
// pending, and a repetition after a lost answer reports what was written and adds nothing.
func TestDeadLetter_WritesOneCopyInDoubt(t *testing.T) {
	cases := map[string]func(t *testing.T, f fixture, id string) error{
		"nothing happens": func(*testing.T, fixture, string) error { return nil },
		"the consumer is removed": func(t *testing.T, f fixture, _ string) error {
			return f.client.XGroupDelConsumer(t.Context(), f.stream, f.group, f.name).Err()
		},
		"the group is destroyed": func(t *testing.T, f fixture, _ string) error {
			return f.client.XGroupDestroy(t.Context(), f.stream, f.group).Err()
		},
		"the stream is deleted": func(t *testing.T, f fixture, _ string) error {
			return f.client.Del(t.Context(), f.stream).Err()
		},
		"the entry is trimmed": func(t *testing.T, f fixture, _ string) error {
			return f.client.XTrimMaxLen(t.Context(), f.stream, 0).Err()
		},
		"the entry is deleted": func(t *testing.T, f fixture, id string) error {
			return f.client.XDel(t.Context(), f.stream, id).Err()
		},
		"the entry is acknowledged": func(t *testing.T, f fixture, id string) error {
			return f.client.XAck(t.Context(), f.stream, f.group, id).Err()
		},
		"another consumer takes it over": func(t *testing.T, f fixture, _ string) error {
			_, err := NewConsumer(f.client, f.stream, f.group, "other").Claim(t.Context(), 0, Cursor{}, 1)
			return err
		},
		"another consumer removed with it": func(t *testing.T, f fixture, _ string) error {
			other := NewConsumer(f.client, f.stream, f.group, "other")
			defer other.Close()
			if _, err := other.Claim(t.Context(), 0, Cursor{}, 1); err != nil {
				return err
			}
			return f.client.XGroupDelConsumer(t.Context(), f.stream, f.group, "other").Err()
		},
	}
	for name, happens := range cases {
		for _, before := range []bool{true, false} {
			f := newFixture(t)
			letters := f.readBad(t)
			id := letters[0].Entry.ID.String()
			if before {
				require.NoError(t, happens(t, f, id), name)
			}
			require.Equal(t, []bool{true}, f.deadLetter(t, letters), name)
			if !before {
				require.NoError(t, happens(t, f, id), name)
			}
			for range 2 { // its answer was lost
				require.Equal(t, []bool{true}, f.deadLetter(t, letters), name)
			}
			require.Equal(t, int64(1), f.dead(t), name)
			if name != "the group is destroyed" && name != "the stream is deleted" {
				require.Empty(t, f.pending(t), name)
			}
		}
	}
}

// Two workers with one entry: one copy, and one of them counts it.
func TestDeadLetter_IsCountedByOneWorker(t *testing.T) {
	f := newFixture(t)
	mine := f.readBad(t)
	other := NewConsumer(f.client, f.stream, f.group, "other")
	t.Cleanup(func() { require.NoError(t, other.Close()) })
	claimed, err := other.Claim(t.Context(), 0, Cursor{}, 1)
	require.NoError(t, err)
	theirs := []Letter{{Entry: &claimed.Entries[0], Reason: "not_json"}}
	written, err := other.DeadLetter(t.Context(), theirs)
	require.NoError(t, err)
	require.Equal(t, []bool{true}, written)
	require.Equal(t, []bool{false}, f.deadLetter(t, mine))
	require.Equal(t, []bool{false}, f.deadLetter(t, mine), "its answer was lost")
	require.Equal(t, int64(1), f.dead(t))
	require.Empty(t, f.pending(t))
}

// A group that is set back reads everything again; the letters that are there are not written again.
func TestDeadLetter_IsNotRepeatedByABackfill(t *testing.T) {
	f := newFixture(t)
	require.Equal(t, []bool{true}, f.deadLetter(t, f.readBad(t)))
	again := func() []bool {
		require.NoError(t, f.client.XGroupSetID(t.Context(), f.stream, f.group, "0").Err())
		batch, err := f.readNew(t, 10)
		require.NoError(t, err)
		require.Len(t, batch.Entries, 1)
		written := f.deadLetter(t, []Letter{{Entry: &batch.Entries[0], Reason: "not_json"}})
		require.Empty(t, f.pending(t))
		return written
	}
	require.Equal(t, []bool{false}, again())
	require.Equal(t, int64(1), f.dead(t))

	// A letter that somebody dropped or trimmed must not hide that the entry is bad.
	require.NoError(t, f.client.XTrimMaxLen(t.Context(), DeadKey(f.stream), 0).Err())
	require.Equal(t, []bool{true}, again())
	require.NoError(t, f.client.Del(t.Context(), DeadKey(f.stream)).Err())
	require.Equal(t, []bool{true}, again())
	require.NoError(t, f.client.Del(t.Context(), SourcesKey(f.stream)).Err())
	require.Equal(t, []bool{true}, again(), "without the hash it cannot tell")
	require.Equal(t, int64(2), f.dead(t))
}

// The stream is deleted, and its new entries have the ids of the old ones.
func TestDeadLetter_TellsEntriesOfOneIDApart(t *testing.T) {
	f := newFixture(t)
	dead := int64(0)
	for _, fields := range [][]any{{"payload", "1"}, {"payload", "2"}, {"payload", "1", "more", "x"}, {"payload", "1"}} {
		require.NoError(t, f.client.Del(t.Context(), f.stream).Err())
		_, err := f.EnsureGroup(t.Context())
		require.NoError(t, err)
		require.NoError(t, f.client.XAdd(t.Context(), &redis.XAddArgs{Stream: f.stream, ID: "1-1", Values: fields}).Err())
		batch, err := f.readNew(t, 1)
		require.NoError(t, err)
		require.Equal(t, []bool{true}, f.deadLetter(t, []Letter{{Entry: &batch.Entries[0], Reason: "not_json"}}))
		dead++
		require.Equal(t, dead, f.dead(t))
	}
}

func TestDeadLetter_BoundsWhatItRemembers(t *testing.T) {
	f := newFixture(t)
	for range 3 {
		f.deadLetter(t, f.readBad(t))
	}
	fill := make([]any, 0, 4000)
	for i := range 2000 {
		fill = append(fill, i, "1-1 x")
	}
	require.NoError(t, f.client.HSet(t.Context(), SourcesKey(f.stream), fill...).Err())
	letters := f.readBad(t)
	require.Equal(t, []bool{true}, f.deadLetter(t, letters))
	require.Equal(t, int64(1), f.client.HLen(t.Context(), SourcesKey(f.stream)).Val())
	require.Equal(t, []bool{true}, f.deadLetter(t, letters))
	require.Equal(t, int64(4), f.dead(t))
}

// An ACL of before the hash, a hash that is something else, and a Redis look-alike.
func TestDeadLetter_DoesWithoutTheHash(t *testing.T) {
	server := servertest.NewRedis(t, sandbox.RedisOptions{})
	admin, err := Connect(server.URL())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, admin.Close()) })
	for name, rights := range map[string]string{
		"no right to the key":      "~s ~{s}:dead +@all",
		"no right to the commands": "~* +@all -hget -hset -hlen -unlink",
		"no right to count":        "~* +@all -xlen",
		"no right to look":         "~* +@all -xrange",
		"all rights":               "~* +@all",
	} {
		require.NoError(t, admin.FlushAll(t.Context()).Err())
		args := []any{"ACL", "SETUSER", "limited", "reset", "on", ">pw"}
		for _, right := range strings.Fields(rights) {
			args = append(args, right)
		}
		require.NoError(t, admin.Do(t.Context(), args...).Err())
		if name == "all rights" {
			require.NoError(t, admin.Set(t.Context(), SourcesKey("s"), "no hash", 0).Err())
		}
		client, err := Connect(strings.Replace(server.URL(), "redis://", "redis://limited:pw@", 1))
		require.NoError(t, err)
		f := fixture{client, NewConsumer(client, "s", "processor", "me")}
		require.Equal(t, []bool{true}, f.deadLetter(t, f.readBad(t)), name)
		require.Empty(t, f.pending(t), name)
		require.Equal(t, int64(1), admin.XLen(t.Context(), DeadKey("s")).Val(), name)
		require.NoError(t, f.Close())
		require.NoError(t, client.Close())
	}
}

// Redis's own message does not say which command of a script the ACL denies. No attempt leaves a copy behind, not
// even where no hash tells the next one about it.
func TestDeadLetter_NamesTheCommandThatIsDenied(t *testing.T) {
	server := servertest.NewRedis(t, sandbox.RedisOptions{})
	admin, err := Connect(server.URL())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, admin.Close()) })
	limit := func(rights ...any) {
		args := append([]any{"ACL", "SETUSER", "limited", "reset", "on", ">pw", "~s", "~{s}:dead"}, rights...)
		require.NoError(t, admin.Do(t.Context(), args...).Err())
	}
	for _, command := range []string{"XADD", "XACK"} {
		require.NoError(t, admin.FlushAll(t.Context()).Err())
		limit("+@all")
		client, err := Connect(strings.Replace(server.URL(), "redis://", "redis://limited:pw@", 1))
		require.NoError(t, err)
		f := fixture{client, NewConsumer(client, "s", "processor", "me")}
		letters := f.readBad(t)
		limit("+@all", "-"+command)
		for range 3 {
			_, err := f.DeadLetter(t.Context(), letters)
			require.Contains(t, strings.ToUpper(err.Error()), command)
			require.Zero(t, f.dead(t))
			require.Len(t, f.pending(t), 1)
		}
		limit("+@all")
		require.Equal(t, []bool{true}, f.deadLetter(t, letters))
		require.Equal(t, int64(1), f.dead(t))
		require.Empty(t, f.pending(t))
		require.NoError(t, f.Close())
		require.NoError(t, client.Close())
	}
}

func TestDeadLetter_WorksOnMiniredis(t *testing.T) {
	url, stop, err := sandbox.StartMiniredis()
	require.NoError(t, err)
	t.Cleanup(stop)
	client, err := Connect(url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	f := fixture{client, NewConsumer(client, "s", "processor", "me")}
	letters := f.readBad(t)
	for range 2 {
		require.Equal(t, []bool{true}, f.deadLetter(t, letters))
	}
	require.Equal(t, int64(1), f.dead(t))
}

func TestDeadLetter_CutsALongDetail(t *testing.T) {
	f := newFixture(t)
	letters := f.readBad(t)
	letters[0].Detail = "x" + strings.Repeat("é", 40_000)
	f.deadLetter(t, letters)
	found, err := NewestDeadLetters(t.Context(), f.client, f.stream, 1)
	require.NoError(t, err)
	require.LessOrEqual(t, len(found[0].Detail), MaxDetail)
	require.Greater(t, len(found[0].Detail), MaxDetail-4)
	require.True(t, utf8.ValidString(found[0].Detail))
	require.Equal(t, "short", cut("short", MaxDetail))
	require.Equal(t, "…", cut("\x80\x80\x80\x80\x80", 4), "no text, but bounded")
}
