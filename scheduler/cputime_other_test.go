//go:build !unix

package scheduler

import "time"

// CPUTime returns 0 where the CPU time is not known.
func CPUTime() time.Duration { return 0 }
