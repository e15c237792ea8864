package bench

import (
	"io/fs"
	"os"
	"os/exec"
	"testing"

	"github.com/prometheus/procfs"
	"github.com/stretchr/testify/require"
)

// testdata/proc: 41 is a postmaster with the running children 42 and 43; 44 is an unrelated process.
func fixture(t *testing.T) procfs.FS {
	t.Helper()
	proc, err := procfs.NewFS("testdata/proc")
	require.NoError(t, err)
	return proc
}

func TestCPUSeconds_SumsTheProcessAndItsChildren(t *testing.T) {
	proc := fixture(t)
	tests := map[string]struct {
		pid  int
		want float64
	}{
		"own, ended children, living children": {41, 2 + 8 + 0.5 + 2.5},
		"no children":                          {42, 0.5},
		"parentheses in the name":              {43, 2.5},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := cpuSecondsIn(proc, test.pid)
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}

	_, err := cpuSecondsIn(proc, 40)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestPeakResident_ReadsHighWaterMark(t *testing.T) {
	proc := fixture(t)

	got, err := peakResidentIn(proc, 41)
	require.NoError(t, err)
	require.Equal(t, uint64(60<<20), got)

	_, err = peakResidentIn(proc, 40)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestCPUSeconds_OfThisProcessGrow(t *testing.T) {
	before, err := cpuSeconds(os.Getpid())
	require.NoError(t, err)
	for after := before; after == before; {
		after, err = cpuSeconds(os.Getpid())
		require.NoError(t, err)
		require.GreaterOrEqual(t, after, before)
	}
}

// A child's CPU time is counted at every moment of its end: as its own, or as that of a child that was waited for.
func TestCPUSeconds_MissNoChildThatEnds(t *testing.T) {
	const children = 6
	ended := make(chan error, 1)
	go func() {
		for range children {
			if err := exec.Command("/bin/sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done").Run(); err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	last := 0.0
	for {
		used, err := cpuSeconds(os.Getpid())
		require.NoError(t, err)
		require.GreaterOrEqual(t, used+2.0/ticks, last, "CPU time went back")
		last = max(last, used)
		select {
		case err := <-ended:
			require.NoError(t, err)
			return
		default:
		}
	}
}
