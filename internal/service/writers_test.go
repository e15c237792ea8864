package service

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWriters_FollowTheCPUs(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	for cpus, want := range map[int]int{1: 2, 2: 2, 3: 3, 4: 4, 16: 4} {
		runtime.GOMAXPROCS(cpus)
		require.Equal(t, want, Writers(0))
		require.Equal(t, 7, Writers(7))
	}
}
