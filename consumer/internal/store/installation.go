package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
)

// Keys of the state bucket.
const (
	installationKey = "installation" // the installation's id
	sealingKey      = "key"          // the public key that the brokers seal with
)

// InstallationID returns the installation's id, and makes it if the state bucket has
// none. It is written on every IAM user, so that two installations in one AWS
// account leave each other's users alone.
func InstallationID(ctx context.Context, state *bucket.Bucket, random io.Reader) (string, error) {
	for {
		e, err := state.Get(ctx, installationKey)
		if err == nil && messages.CheckToken("installation", string(e.Value)) != nil {
			return "", errors.New("the installation's id in the state bucket is damaged; every IAM user has it as the tag lessor:installation: write it back from there")
		}
		if err == nil {
			return string(e.Value), nil
		}
		if !errors.Is(err, bucket.ErrNotFound) {
			return "", err
		}
		id, err := RandomToken(random)
		if err != nil {
			return "", err
		}
		if _, err = state.Put(ctx, installationKey, []byte(id), e.Revision, 0); err == nil {
			return id, nil
		}
		if !errors.Is(err, bucket.ErrConflict) {
			return "", err
		}
	}
}

// HasInstallation reports whether the state bucket has an installation's id.
func HasInstallation(ctx context.Context, state *bucket.Bucket) (bool, error) {
	_, err := state.Get(ctx, installationKey)
	if errors.Is(err, bucket.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// CheckKeys makes sure that this broker can open what the installation's other
// brokers seal: the state bucket names the key that they seal with. To change keys,
// every broker is first given the new one beside the old one.
func CheckKeys(ctx context.Context, state *bucket.Bucket, keys *messages.Keyring) error {
	public := keys.PublicKeys()
	for {
		e, err := state.Get(ctx, sealingKey)
		if err != nil && !errors.Is(err, bucket.ErrNotFound) {
			return err
		}
		stored := string(e.Value)
		if err == nil && !slices.Contains(public, stored) {
			return fmt.Errorf("the key file is not this installation's: its brokers seal with %s; give all of them the same file", stored)
		}
		if stored == public[0] {
			return nil
		}
		if _, err = state.Put(ctx, sealingKey, []byte(public[0]), e.Revision, 0); !errors.Is(err, bucket.ErrConflict) {
			return err
		}
	}
}

// RandomToken returns a random subject token of 10 characters (50 bits).
func RandomToken(random io.Reader) (string, error) {
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
