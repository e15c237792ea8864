package cli

import (
	"errors"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/stretchr/testify/require"

	"processor/internal/observe"
	"processor/internal/servertest"
)

func TestLimitMemory_FollowsTheContainer(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	failing := func(err error) memlimit.Provider { return func() (uint64, error) { return 0, err } }
	for name, c := range map[string]struct {
		container memlimit.Provider
		explicit  string // GOMEMLIMIT; the runtime has read it before main
		want      int64
		log       string
	}{
		"a limit":                   {memlimit.Limit(640 << 20), "", 512 << 20, `"msg":"memory is limited","gomemlimit_bytes":536870912`},
		"a small limit":             {memlimit.Limit(128 << 20), "", 107374182, `"gomemlimit_bytes":107374182`},
		"no limit":                  {failing(memlimit.ErrNoLimit), "", math.MaxInt64, ""},
		"no cgroup":                 {failing(memlimit.ErrNoCgroup), "", 1 << 40, ""},
		"no Linux":                  {failing(memlimit.ErrCgroupsNotSupported), "", 1 << 40, ""},
		"unreadable":                {failing(errors.New("permission denied")), "", 1 << 40, `"level":"warn","msg":"memory limit of the container is unknown"`},
		"GOMEMLIMIT is set":         {memlimit.Limit(640 << 20), "1TiB", 1 << 40, `"gomemlimit_bytes":1099511627776`},
		"GOMEMLIMIT is off":         {memlimit.Limit(640 << 20), "off", math.MaxInt64, ""},
		"unreadable, and it is set": {failing(errors.New("permission denied")), "1TiB", 1 << 40, `"gomemlimit_bytes":1099511627776`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GOMEMLIMIT", c.explicit)
			debug.SetMemoryLimit(1 << 40)
			switch c.explicit {
			case "":
				require.NoError(t, os.Unsetenv("GOMEMLIMIT"))
			case "off":
				debug.SetMemoryLimit(math.MaxInt64)
			}
			var log servertest.Log
			limitMemory(c.container, observe.NewLogger(&log, slog.LevelInfo))
			require.Equal(t, c.want, debug.SetMemoryLimit(-1))
			if c.log == "" {
				require.Empty(t, log.String())
				return
			}
			require.Contains(t, log.String(), c.log)
		})
	}
}
