//go:build unix

package scheduler

import (
	"syscall"
	"time"
)

// CPUTime is what this process has used of the CPU. On a machine that is shared it says
// more than a clock.
func CPUTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
