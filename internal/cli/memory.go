package cli

import (
	"errors"
	"log/slog"
	"math"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// memoryShare is the part of the container's memory limit that becomes GOMEMLIMIT. The rest is for what the Go
// runtime does not count, and for what arrives while the garbage collector runs.
const memoryShare = 0.8

// limitMemory makes the garbage collector work before the container's limit ends the process. A GOMEMLIMIT from
// the environment stands. Without a limit nothing changes.
func limitMemory(container memlimit.Provider, logger *slog.Logger) {
	limit, err := memlimit.Set(memlimit.WithRatio(memoryShare), memlimit.WithProvider(container))
	switch {
	case errors.Is(err, memlimit.ErrCgroupsNotSupported), errors.Is(err, memlimit.ErrNoCgroup):
	case err != nil:
		logger.Warn("memory limit of the container is unknown", "error", err, "hint", "set GOMEMLIMIT to 80 % of it")
	case limit < math.MaxInt64:
		logger.Info("memory is limited", "gomemlimit_bytes", limit)
	}
}
