package bench

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/prometheus/procfs"
)

// sysProcAttr returns attributes of a child that Ctrl-C does not reach, so that the benchmark can stop it
// in order, and that is killed when its parent ends.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// ticks is the number of clock ticks per second in /proc: USER_HZ, 100 on every Linux.
const ticks = 100

// measurable returns an error if CPU and memory of a process cannot be read on this system.
func measurable() error {
	_, err := procfs.NewDefaultFS()
	return err
}

// cpuSeconds returns the CPU time of the process and its children, including children that have ended and
// were waited for (cutime in proc_pid_stat(5)). The difference of two calls is therefore complete for
// PostgreSQL, whose processes are all children of the postmaster.
func cpuSeconds(pid int) (float64, error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, err
	}
	return cpuSecondsIn(proc, pid)
}

func cpuSecondsIn(proc procfs.FS, pid int) (float64, error) {
	own, err := cpuTicks(proc, pid)
	if err != nil {
		return 0, err
	}
	for {
		children, err := childTicks(proc, pid)
		if err != nil {
			return 0, err
		}
		// A child that was waited for between the two readings is in neither of them.
		again, err := cpuTicks(proc, pid)
		if err != nil || again.ended == own.ended {
			return float64(own.own+own.ended+children) / ticks, err
		}
		own = again
	}
}

// processTicks is the CPU time of a process, and of its children that have ended and were waited for, in clock ticks.
type processTicks struct {
	own, ended int
}

func cpuTicks(proc procfs.FS, pid int) (processTicks, error) {
	p, err := proc.Proc(pid)
	if err != nil {
		return processTicks{}, err
	}
	stat, err := p.Stat()
	return processTicks{int(stat.UTime) + int(stat.STime), stat.CUTime + stat.CSTime}, err
}

// childTicks is the CPU time of the process's children in clock ticks.
func childTicks(proc procfs.FS, pid int) (sum int, err error) {
	all, err := proc.AllProcs()
	if err != nil {
		return 0, err
	}
	for _, p := range all {
		child, err := p.Stat()
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ESRCH): // it has just ended
		case err != nil:
			return 0, fmt.Errorf("process %d: %w", p.PID, err)
		case child.PPID == pid:
			sum += int(child.UTime) + int(child.STime) + child.CUTime + child.CSTime
		}
	}
	return sum, nil
}

// peakResident returns the maximum resident memory of the process in bytes: VmHWM of proc_pid_status(5).
func peakResident(pid int) (uint64, error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, err
	}
	return peakResidentIn(proc, pid)
}

func peakResidentIn(proc procfs.FS, pid int) (uint64, error) {
	p, err := proc.Proc(pid)
	if err != nil {
		return 0, err
	}
	status, err := p.NewStatus()
	if err != nil {
		return 0, err
	}
	return status.VmHWM, nil
}

// cpuModel returns the name of the CPU; empty if unknown.
func cpuModel() string {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return ""
	}
	cpus, err := proc.CPUInfo()
	if err != nil || len(cpus) == 0 {
		return ""
	}
	return cpus[0].ModelName
}
