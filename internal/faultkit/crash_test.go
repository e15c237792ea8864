package faultkit

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"processor/internal/pipeline"
	"processor/internal/sandbox"
	"processor/internal/servertest"
	"processor/internal/stream"
)

// A worker that dies between any two steps of a batch's life leaves nothing half done that its
// successor under the same name does not finish.
func TestCrash_AfterEveryStep(t *testing.T) {
	steps := []pipeline.Step{
		pipeline.Read, pipeline.Decoded, pipeline.Committed, pipeline.Observed, pipeline.DeadLettered, pipeline.Acknowledged,
	}
	for _, step := range steps {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			letters := r.publishWithBad(1000, 10)
			w := r.start(dies(step, 3))
			w.dead()
			r.requireUnfinished()
			r.finish(letters)
		})
	}
}

// The moments that lie between the worker and a server: its request or their answer is on the
// way when it dies.
func TestCrash_WithARequestOnTheWay(t *testing.T) {
	cases := map[string]struct {
		postgres bool
		trap     Trap
	}{
		"before the commit is sent":          {true, Trap{At: Commit}},
		"before the commit's answer":         {true, Trap{At: Commit, Answered: true}},
		"in the middle of a dead letter":     {false, Trap{At: DeadLetter}},
		"before a dead letter's answer":      {false, Trap{At: DeadLetter, Answered: true}},
		"before the entries are read":        {false, Trap{At: third(Read)}},
		"before the answer with the entries": {false, Trap{At: third(Read), Answered: true}},
		"before XACK is sent":                {false, Trap{At: third(Command("XACK"))}},
		"before XACK's answer":               {false, Trap{At: third(Command("XACK")), Answered: true}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			direct := r.config
			redis, postgres := r.throughProxies()
			letters := r.publishWithBad(1000, 10)
			c.trap.Hold = true
			proxy := redis
			if c.postgres {
				proxy = postgres
			}
			sprung := proxy.Set(c.trap)
			w := r.start()
			servertest.Within(t, sprung)
			w.Kill()
			r.requireUnfinished()
			r.config = direct
			r.finish(letters)
		})
	}
}

// One of two streams is acknowledged, the other one not yet.
func TestCrash_BetweenXACKOfTwoStreams(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.config.Streams[0]
	second := first + ":2"
	r.config.Streams = append(r.config.Streams, second)
	direct := r.config
	redis, _ := r.throughProxies()
	sprung := redis.Set(Trap{At: Command("XACK", second), Hold: true})
	r.publishTo(first, 100)
	r.publishTo(second, 100)
	w := r.start()
	servertest.Within(t, sprung)
	servertest.Until(t, "the first stream is acknowledged", func() bool {
		info, err := stream.Inspect(t.Context(), r.redis, first, r.config.Group)
		return err == nil && info.Group.Pending == 0 && info.Group.LastDelivered == info.LastGenerated
	})
	w.Kill()
	require.Equal(t, int64(100), r.pending())
	require.Equal(t, "200", r.rows(), "committed, and not acknowledged")
	r.config = direct
	r.finish(nil)
}

// An entry that ends the process whenever it is met: it is handled by itself after --max-deliveries, and
// after three processes have ended there it is dead-lettered without being decoded. None of those behind
// it goes the same way, although they were delivered as often.
func TestCrash_WithTheSameEntryAtEveryStart(t *testing.T) {
	for _, step := range []pipeline.Step{pipeline.Read, pipeline.Decoded} {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.config.MaxDeliveries = 2
			r.publish(10)
			entries, err := r.redis.XRange(t.Context(), r.config.Streams[0], "-", "+").Result()
			require.NoError(t, err)
			for range r.config.MaxDeliveries + 3 {
				r.start(dies(step, 1)).dead()
				require.Empty(t, r.letters())
			}
			// The first entry is quarantined, and the process dies of the second, as of any other now.
			r.start(dies(step, 1)).dead()
			first := "delivered_too_often " + entries[0].ID
			require.Equal(t, []string{first}, r.letters())
			letter, err := r.redis.XRange(t.Context(), stream.DeadKey(r.config.Streams[0]), "-", "+").Result()
			require.NoError(t, err)
			require.Contains(t, letter[0].Values[stream.FieldDetail], "3 processes in a row ended")
			require.Equal(t, string(r.published[0]), letter[0].Values["payload"])
			require.Equal(t, int64(9), r.pending())

			r.published = r.published[1:]
			l := r.finish([]string{first})
			require.Equal(t, ledger{Read: 9, Inserted: 9, Balanced: true}, l)
			marks, err := r.redis.HLen(t.Context(), stream.PoisonKey(r.config.Streams[0])).Result()
			require.NoError(t, err)
			require.Zero(t, marks)
		})
	}
}

// publishWithBad publishes n positions, and after every tenth part of them a bad entry or more,
// and returns the dead letters that those become.
func (r *rig) publishWithBad(n, bad int) (letters []string) {
	r.t.Helper()
	for i := range bad {
		r.publish(n / bad)
		letters = append(letters, "not_json "+r.add(fmt.Sprint("nonsense ", i)))
	}
	return letters
}

// requireUnfinished makes sure that the fault came in the middle: something is left to do, and
// nothing was acknowledged that is not there.
func (r *rig) requireUnfinished() {
	r.t.Helper()
	require.False(r.t, r.drained(), "the fault came too late")
}

// finish starts a worker under the same name, lets it do the rest, and looks at everything.
func (r *rig) finish(letters []string) ledger {
	r.t.Helper()
	w := r.start()
	r.awaitDrained()
	l := w.stop()
	r.requireExact(letters...)
	require.NotContains(r.t, w.Log(), `"level":"error"`)
	return l
}

// third skips the first two such moments.
func third(m Moment) Moment {
	seen := 0
	return func(f Frame) bool {
		if m(f) {
			seen++
		}
		return seen == 3 && m(f)
	}
}

// An entry that ends the process, and whose mark Redis refuses: without marks nobody would ever know that it does,
// and it would do so at each start. It is not decoded, stays pending and is named; everything else goes on.
func TestCrash_EndsWhereMarksAreRefused(t *testing.T) {
	const user = "worker"
	rights := func(rules ...any) func(r *rig) {
		return func(r *rig) {
			rules := append([]any{"ACL", "SETUSER", user, "reset", "on", ">secret", "+@all", "~*", "&*"}, rules...)
			require.NoError(r.t, r.redis.Do(r.t.Context(), rules...).Err())
		}
	}
	maxMemory := func(value string) func(r *rig) {
		return func(r *rig) { require.NoError(r.t, r.redis.ConfigSet(r.t.Context(), "maxmemory", value).Err()) }
	}
	for name, c := range map[string]struct {
		refuse, allow func(r *rig)
		full          bool // nothing can be published meanwhile
	}{
		"HINCRBY is denied": {rights("-hincrby"), rights(), false},
		"HDEL is denied":    {rights("-hdel"), rights(), false},
		"EXPIRE is denied":  {rights("-expire"), rights(), false},
		"no hash": {
			func(r *rig) {
				require.NoError(t, r.redis.Set(t.Context(), stream.PoisonKey(r.config.Streams[0]), 1, 0).Err())
			},
			func(r *rig) {
				require.NoError(t, r.redis.Del(t.Context(), stream.PoisonKey(r.config.Streams[0])).Err())
			}, false,
		},
		"no memory": {maxMemory("1"), maxMemory("0"), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := servertest.NewRedis(t, sandbox.RedisOptions{})
			r := newRigOn(t, server.URL(), servertest.Migrated(t))
			rights()(r)
			r.config.Redis.URL = strings.Replace(server.URL(), "redis://", "redis://"+user+":secret@", 1)
			r.config.MaxDeliveries = 2
			r.publish(1)
			for range r.config.MaxDeliveries {
				r.start(dies(pipeline.Read, 1)).dead()
			}
			c.refuse(r)
			check := "poison " + r.config.Streams[0]
			w := r.start(dies(pipeline.Read, 1))
			servertest.Until(t, "it is reported", func() bool { return w.failing(check) != "" })
			require.Contains(t, w.failing(check), "Fix: let the role use HINCRBY, HDEL and EXPIRE on "+stream.PoisonKey(r.config.Streams[0]))
			require.True(t, w.alive())
			w.Kill()
			w = r.start(dies(pipeline.Read, 1))
			servertest.Until(t, "the next process survives it too", func() bool {
				return len(w.lines("entries delivered too often cannot be marked; they stay pending")) == 1
			})
			require.True(t, w.alive())
			w.Kill()
			require.Equal(t, int64(1), r.pending())
			require.Empty(t, r.letters())

			w = r.start()
			if !c.full {
				r.publish(50)
				servertest.Until(t, "the others are rows", func() bool { return r.rows() == "50" })
			}
			servertest.Until(t, "only that entry is pending", func() bool { return r.pending() == 1 })
			c.allow(r)
			r.awaitDrained()
			servertest.Until(t, "ready", w.ready)
			w.stop()
			r.requireExact()
			require.Zero(t, r.redis.HLen(t.Context(), stream.PoisonKey(r.config.Streams[0])).Val())
		})
	}
}
