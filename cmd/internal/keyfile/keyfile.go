// Package keyfile reads and creates the files with the broker's own key.
package keyfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lessorhq/lessor/cmd/internal/atomicfile"
	"github.com/lessorhq/lessor/messages"
)

// Name is the name of the key file in the store of an embedded NATS server.
const Name = "broker.key"

// Read reads a key file. Its errors never show the key.
func Read(path string) (*messages.Keyring, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf(`the broker's key: %w; create one with "lessor key new > FILE"`, err)
	}
	defer clear(data)
	keys, err := messages.ParseKeyring(data)
	if err != nil {
		return nil, fmt.Errorf("the broker's key %s: %s", path, messages.AsError(err).Message)
	}
	return keys, nil
}

// New returns a new key that is not stored.
func New() (*messages.Keyring, error) {
	seed, err := messages.NewKey()
	if err != nil {
		return nil, err
	}
	return messages.ParseKeyring(seed)
}

// ReadOrCreate reads the key file in a store. If there is none, it creates one that only
// this user can read.
func ReadOrCreate(store string) (*messages.Keyring, error) {
	path := filepath.Join(store, Name)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return Read(path)
	}
	seed, err := messages.NewKey()
	if err != nil {
		return nil, err
	}
	defer clear(seed)
	if err := atomicfile.Write(path, seed, 0o600); err != nil {
		return nil, fmt.Errorf("the broker's key: %w", err)
	}
	return Read(path)
}
