//go:build unix

package timing

import (
	"syscall"
	"time"
)

// CPUTime returns the CPU time that this process has used so far, or a negative duration
// if it is not known.
func CPUTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return -1
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
