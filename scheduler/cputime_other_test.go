//go:build !unix

package scheduler

import "time"

// CPUTime is not known here.
func CPUTime() time.Duration { return 0 }
