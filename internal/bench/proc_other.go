//go:build !linux

package bench

import (
	"errors"
	"fmt"
	"syscall"
)

func sysProcAttr() *syscall.SysProcAttr { return nil }

func measurable() error {
	return fmt.Errorf("CPU time and memory are read from /proc, so the benchmark needs Linux: %w", errors.ErrUnsupported)
}

func cpuSeconds(int) (float64, error) { return 0, errors.ErrUnsupported }

func peakResident(int) (uint64, error) { return 0, errors.ErrUnsupported }

func cpuModel() string { return "" }
