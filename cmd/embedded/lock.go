package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// ErrStoreInUse is in the chain of [Start]'s error if another process, or another server
// in this process, has the store open.
var ErrStoreInUse = errors.New("in use")

// lockFile is the file in a store that is locked while the store is open. It is never
// removed: otherwise two processes could lock two files of the same name.
const lockFile = "lessor.lock"

// lockRetry is the wait between two attempts to get the lock. Its release is not
// announced.
const lockRetry = 50 * time.Millisecond

// lockStore creates the folder if it is missing and locks it. It waits up to wait for
// another process to release the lock. Closing the file releases the lock.
func lockStore(dir string, wait time.Duration) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the NATS server's store: %w", err)
	}
	path := filepath.Join(dir, lockFile)
	deadline := time.Now().Add(wait)
	for {
		f, err := tryLock(path)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, ErrStoreInUse) {
			return nil, fmt.Errorf("lock the NATS server's store: %w", err)
		}
		if !time.Now().Before(deadline) {
			return nil, fmt.Errorf("the store %s is %w by another process; stop that one, or choose another folder", dir, ErrStoreInUse)
		}
		time.Sleep(lockRetry)
	}
}
