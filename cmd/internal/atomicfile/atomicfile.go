// Package atomicfile writes files so that a reader, or the next start after a crash,
// finds the whole new file or the whole old one.
package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Write writes a file and returns when it is on the disk. Folders that are missing are
// created for this user alone. The data is written to a new file beside it, path with
// ".new" appended, which only this user can read until it has the mode and the name.
// Symbolic links at that name are not followed.
func Write(path string, data []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := create(tmp, data, mode); err != nil {
		return err
	}
	return errors.Join(os.Rename(tmp, path), syncFolder(dir))
}

// create writes a file that must not exist.
func create(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
}

// syncFolder returns when a folder's entries are on the disk.
func syncFolder(path string) error {
	if runtime.GOOS == "windows" { // which can't flush a folder
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
