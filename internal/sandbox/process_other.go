//go:build !linux

package sandbox

import (
	"errors"
	"syscall"
)

// ChildAttr returns the attributes of a child that Ctrl-C does not reach.
func ChildAttr() *syscall.SysProcAttr { return sysProcAttr(nil) }

// sysProcAttr returns attributes of a child that Ctrl-C does not reach.
func sysProcAttr(credential *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: credential}
}

func (p *process) pause() ([]int, error) { return nil, errors.ErrUnsupported }

func (p *process) resume() error { return nil }

func waitGone([]int) error { return nil }
