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

// keyFolder keeps seeds of nkeys, one a file, for this user alone.
type keyFolder struct {
	dir string
}

// keysOf is the folder of keys of the configuration in dir.
func keysOf(dir string) keyFolder { return keyFolder{dir: filepath.Join(dir, "keys")} }

// seedSuffix is what files with a seed end in.
const seedSuffix = ".nk"

// key returns the key of that name, which is made where it is missing.
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
		return nil, fmt.Errorf("%s is not a seed of its kind; remove it, and another is made", path)
	}
	return nkeys.FromSeed(bytes.TrimSpace(seed))
}

func newSeed(path string, kind nkeys.PrefixByte) (nkeys.KeyPair, error) {
	pair, err := nkeys.CreatePair(kind)
	if err != nil {
		return nil, err
	}
	seed, err := pair.Seed() // the pair's own: it goes when that is wiped
	if err != nil {
		return nil, err
	}
	line := append(bytes.Clone(seed), '\n')
	defer clear(line)
	return pair, writeFile(path, line, 0o600)
}

// userKey is the name of a user's key, and of its credentials.
func userKey(role, user string) string { return role + "-" + user }
