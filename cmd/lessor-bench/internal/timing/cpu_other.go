//go:build !unix

package timing

import "time"

// CPUTime returns a negative duration: it is not known on this system.
func CPUTime() time.Duration { return -1 }
