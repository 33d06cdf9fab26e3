//go:build unix && !linux

package main

import "syscall"

// dieWithTests is for systems that can't kill a process when its parent dies:
// there it ends with its test alone.
func dieWithTests() *syscall.SysProcAttr { return nil }
