package main

import "syscall"

// dieWithTests has a process killed when the tests die, however they do.
func dieWithTests() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
