//go:build !linux

package proc

import "syscall"

// dieWithParent returns nil: this system can't kill a child when its parent dies. A
// program that is killed leaves its children behind.
func dieWithParent() *syscall.SysProcAttr { return nil }
