//go:build !linux

package main

import "syscall"

// dieWithParent is for systems that can't kill a process when its parent dies:
// there a soak that is killed leaves its processes behind.
func dieWithParent() *syscall.SysProcAttr { return nil }
