package consumer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/lessorhq/lessor/messages"
)

// installationKey is where the state bucket has the installation's id.
const installationKey = "installation"

// installation returns the installation's id, and makes it on the first start.
// It is written on every IAM user: two installations in one AWS account leave
// each other's users alone.
func installation(ctx context.Context, state *bucket, random io.Reader) (string, error) {
	for {
		id, revision, err := state.get(ctx, installationKey)
		if err == nil && messages.CheckToken("installation", string(id)) != nil {
			return "", errors.New("the installation's id in the state bucket is damaged; it stands on every IAM user as the tag lessor:installation: write it back from there")
		}
		if err == nil {
			return string(id), nil
		}
		if !errors.Is(err, errNotFound) {
			return "", err
		}
		fresh, err := randomToken(random)
		if err != nil {
			return "", err
		}
		if _, err = state.put(ctx, installationKey, []byte(fresh), revision, 0); err == nil {
			return fresh, nil
		}
		if !errors.Is(err, errConflict) {
			return "", err
		}
	}
}

// checkKeys makes sure that the brokers of an installation can open what the
// others seal: the key that seals is noted, and whoever does not have it is
// refused. To change keys, every broker is first given the new one beside the old.
func checkKeys(ctx context.Context, state *bucket, keys *messages.Keyring) error {
	const key = "key"
	public := keys.PublicKeys()
	for {
		noted, revision, err := state.get(ctx, key)
		if err != nil && !errors.Is(err, errNotFound) {
			return err
		}
		if err == nil && !slices.Contains(public, string(noted)) {
			return fmt.Errorf("the key file is not this installation's: its brokers seal with %s; give all of them the same file", noted)
		}
		if string(noted) == public[0] {
			return nil
		}
		if _, err = state.put(ctx, key, []byte(public[0]), revision, 0); !errors.Is(err, errConflict) {
			return err
		}
	}
}

func randomToken(random io.Reader) (string, error) {
	b := make([]byte, 10)
	if _, err := io.ReadFull(random, b); err != nil {
		return "", fmt.Errorf("no randomness: %w", err)
	}
	const digits = "0123456789abcdefghijklmnopqrstuv"
	for i := range b {
		b[i] = digits[b[i]%32]
	}
	return string(b), nil
}
