//go:build unix

package timing

import (
	"syscall"
	"time"
)

// CPUTime is how long this process has computed so far; negative: nobody knows.
func CPUTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return -1
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
