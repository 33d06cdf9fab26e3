package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// ErrStoreInUse is in the chain of [Start]'s error where another process, or
// another server of this one, has the store open.
var ErrStoreInUse = errors.New("in use")

// lockFile is the file in a store whose lock says that the store is open. It
// stays when the lock goes: removing it would let two processes lock two files
// of one name.
const lockFile = "lessor.lock"

// lockRetry is how often a held lock is tried again; nobody tells when it goes.
const lockRetry = 50 * time.Millisecond

// lockStore makes the folder where it is missing and locks it, waiting up to
// wait for whoever holds it. Closing the file releases the lock.
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
