//go:build unix

package embedded

import (
	"errors"
	"os"

	"syscall"
)

// tryLock opens the file and locks it, or returns ErrStoreInUse. The lock belongs to the
// open file: it excludes this process too, and it ends with the process.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, ErrStoreInUse
	}
	return nil, &os.PathError{Op: "flock", Path: path, Err: err}
}
