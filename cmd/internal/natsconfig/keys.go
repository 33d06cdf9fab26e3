package natsconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nkeys"
)

// keyFolder is a folder of nkey seeds, one a file, that only this user can read.
type keyFolder struct {
	dir string
}

// keysOf returns the folder of keys of the configuration in dir.
func keysOf(dir string) keyFolder { return keyFolder{dir: filepath.Join(dir, "keys")} }

// seedSuffix is the end of the names of files with a seed.
const seedSuffix = ".nk"

// key returns the key with this name, which is created if it is missing. Its errors never
// contain the seed.
func (k keyFolder) key(name string, kind nkeys.PrefixByte) (nkeys.KeyPair, error) {
	path := filepath.Join(k.dir, name+seedSuffix)
	seed, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newSeed(path, kind)
	}
	if err != nil {
		return nil, err
	}
	defer clear(seed)
	if prefix, _, err := nkeys.DecodeSeed(bytes.TrimSpace(seed)); err != nil || prefix != kind {
		return nil, fmt.Errorf("%s is not a seed of the right kind; remove it, and a new one is created", path)
	}
	return nkeys.FromSeed(bytes.TrimSpace(seed))
}

// newSeed creates a key and its file.
func newSeed(path string, kind nkeys.PrefixByte) (nkeys.KeyPair, error) {
	pair, err := nkeys.CreatePair(kind)
	if err != nil {
		return nil, err
	}
	seed, err := pair.Seed() // a slice of the pair, which Wipe overwrites
	if err != nil {
		return nil, err
	}
	line := append(bytes.Clone(seed), '\n')
	defer clear(line)
	return pair, writeFile(path, line, 0o600)
}

// userKey returns the name of a user's key and credentials.
func userKey(role, user string) string { return role + "-" + user }
