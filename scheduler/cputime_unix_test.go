//go:build unix

package scheduler

import (
	"syscall"
	"time"
)

// CPUTime returns the CPU time that this process has used. On a shared machine it says
// more than a clock.
func CPUTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
