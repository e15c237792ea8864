package faultkit

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
)

// Redis refuses the worker one of the commands around its reads. New entries become rows all the same; what was
// pending becomes rows too where the command is not needed for it, else once it is allowed. It is reported
// where something waits.
func TestRefused_CommandsAroundReads(t *testing.T) {
	for name, c := range map[string]struct {
		rules   []any
		waiting int    // of the 20 entries that were pending: 10 under the worker's own name, 10 under another's
		check   string // that fails then
	}{
		"XAUTOCLAIM":            {[]any{"-xautoclaim"}, 10, "claims"},
		"XPENDING":              {[]any{"-xpending"}, 20, "claims"},
		"XPENDING and XINFO":    {[]any{"-xpending", "-xinfo"}, 20, "claims"},
		"XINFO":                 {[]any{"-xinfo"}, 0, "monitor"},
		"MULTI":                 {[]any{"-multi"}, 0, ""},
		"EXEC":                  {[]any{"-exec"}, 0, ""},
		"XCLAIM":                {[]any{"-xclaim"}, 0, ""},
		"EVAL":                  {[]any{"-eval", "-evalsha"}, 0, "monitor"},
		"XINFO CONSUMERS":       {[]any{"-xinfo|consumers"}, 0, "monitor"},
		"XLEN of the letters":   {[]any{"-xlen"}, 0, "monitor"},
		"all that reads can do": {[]any{"-xautoclaim", "-xpending", "-xinfo", "-xclaim", "-multi", "-eval", "-evalsha"}, 20, "claims"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := servertest.NewRedis(t, sandbox.RedisOptions{})
			r := newRigOn(t, server.URL(), servertest.Migrated(t))
			r.config.ClaimIdle = 2 * time.Second
			stream := r.config.Streams[0]
			require.NoError(t, r.redis.XGroupCreateMkStream(t.Context(), stream, r.config.Group, "0").Err())
			r.publish(20)
			for _, consumer := range []string{r.config.Consumer, "gone"} {
				require.NoError(t, r.redis.XReadGroup(t.Context(), &redis.XReadGroupArgs{
					Group: r.config.Group, Consumer: consumer, Streams: []string{stream, ">"}, Count: 10}).Err())
			}
			rights := func(rules ...any) {
				args := append([]any{"ACL", "SETUSER", "worker", "reset", "on", ">secret", "+@all", "~*"}, rules...)
				require.NoError(t, r.redis.Do(t.Context(), args...).Err())
			}
			rights(c.rules...)
			r.config.Redis.URL = strings.Replace(server.URL(), "redis://", "redis://worker:secret@", 1)
			r.publish(500) // what the very first read brings, however much of it is refused
			w := r.start()
			servertest.Until(t, "what is pending and may be had is there", func() bool { return r.rows() == strconv.Itoa(520-c.waiting) })
			r.publish(500)
			servertest.Until(t, "new entries are there", func() bool { return r.rows() == strconv.Itoa(1020-c.waiting) })
			if c.check != "" {
				servertest.Until(t, "it is reported", func() bool { return w.failing(c.check+" "+stream) != "" })
				require.Contains(t, w.failing(c.check+" "+stream), "NOPERM")
			}
			require.Empty(t, w.failing("stream "+stream), "the stream is read")
			servertest.Until(t, "the others are acknowledged", func() bool { return r.pending() == int64(c.waiting) })

			rights()
			r.awaitDrained()
			servertest.Until(t, "ready", w.ready)
			l := w.stop()
			require.Equal(t, ledger{Read: l.Read, Inserted: 1020, Unchanged: l.Read - 1020, Balanced: true}, l)
			r.requireExact()
		})
	}
}
