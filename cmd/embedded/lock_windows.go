package embedded

import (
	"errors"
	"os"
	"syscall"
)

// errSharingViolation is Windows' word for a file that somebody opened for
// himself.
const errSharingViolation = syscall.Errno(32)

// tryLock opens the file so that nobody else may, or returns ErrStoreInUse. It
// ends with the process.
func tryLock(path string) (*os.File, error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil,
		syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, errSharingViolation) {
		return nil, ErrStoreInUse
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}
