package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/lessorhq/lessor/messages"
)

// keyFileName is the broker's key in the store of an embedded server.
const keyFileName = "broker.key"

// readKeys reads a key file.
func readKeys(path string) (*messages.Keyring, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf(`the broker's key: %w; make one with "lessor key new > FILE"`, err)
	}
	defer clear(data)
	keys, err := messages.ParseKeyring(data)
	if err != nil {
		return nil, fmt.Errorf("the broker's key %s: %s", path, messages.AsError(err).Message)
	}
	return keys, nil
}

// storeKeys reads the key in a store, and makes it on the first start, for this
// user alone.
func storeKeys(store string) (*messages.Keyring, error) {
	path := filepath.Join(store, keyFileName)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return readKeys(path)
	}
	seed, err := messages.NewKey()
	if err != nil {
		return nil, err
	}
	defer clear(seed)
	if err := os.MkdirAll(store, 0o700); err != nil {
		return nil, err
	}
	// Written aside and renamed: a crash leaves the whole key or none.
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the broker's key: %w", err)
	}
	if err := writeDurably(tmp, seed); err != nil {
		return nil, fmt.Errorf("the broker's key: %w", err)
	}
	if err := errors.Join(os.Rename(tmp, path), syncFolder(store)); err != nil {
		return nil, fmt.Errorf("the broker's key: %w", err)
	}
	return readKeys(path)
}

// syncFolder returns when a folder's entries are on the disk.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// writeDurably writes a file that only this user may read, and returns when it
// is on the disk.
func writeDurably(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func newKeyCmd(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "key",
		Short:   "The broker's own key",
		GroupID: operators,
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "new",
		Short: "Make a key for --key-file",
		Long: `Print a new key for the broker's --key-file.

The key protects credentials that wait for their delivery. Every replica needs the
same file. To change the key, put the new one on the first line and keep the old
one below it until no lease is older: the first line seals, all of them open.`,
		Example: `  (umask 077; lessor key new > broker.key)
  lessor serve --key-file broker.key --secrets ./secrets`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			seed, err := messages.NewKey()
			if err != nil {
				return err
			}
			defer clear(seed)
			_, err = fmt.Fprintf(env.Stdout, "%s\n", seed)
			return err
		},
	})
	return cmd
}
