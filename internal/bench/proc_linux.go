package bench

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/prometheus/procfs"
)

// sysProcAttr makes a child that Ctrl-C does not reach, so that it is stopped in order, and that
// dies with its parent.
func sysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// ticks is how many of the kernel's clock ticks make a second: USER_HZ, 100 on every Linux.
const ticks = 100

// measurable reports whether this system shows CPU and memory of a process.
func measurable() error {
	_, err := procfs.NewDefaultFS()
	return err
}

// cpuSeconds is the CPU time that the process and its children have used, with those children
// that have ended (proc_pid_stat(5): cutime holds them once they were waited for). So the
// difference of two calls is complete, however the children came and went: it fits PostgreSQL,
// whose processes are all children of the postmaster.
func cpuSeconds(pid int) (float64, error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, err
	}
	return cpuSecondsIn(proc, pid)
}

func cpuSecondsIn(proc procfs.FS, pid int) (float64, error) {
	p, err := proc.Proc(pid)
	if err != nil {
		return 0, err
	}
	stat, err := p.Stat()
	if err != nil {
		return 0, err
	}
	sum := int(stat.UTime) + int(stat.STime) + stat.CUTime + stat.CSTime
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
	return float64(sum) / ticks, nil
}

// peakResident is the most memory, in bytes, that the process has had resident: VmHWM of
// proc_pid_status(5).
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

// cpuModel is the name of the processor; empty where the kernel does not tell.
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
