package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
)

// installation returns the installation's id, and makes it on the first start.
// It is written on every IAM user: two installations in one AWS account leave
// each other's users alone.
func installation(ctx context.Context, state *bucket, random io.Reader) (string, error) {
	const key = "installation"
	for {
		id, revision, err := state.get(ctx, key)
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
		if _, err = state.put(ctx, key, []byte(fresh), revision, 0); err == nil {
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

// accounts reaches the AWS accounts that leases name. A connection is written to
// the state bucket before the first lease names it, so that whoever undoes the
// lease knows it, whatever becomes of the definition.
type accounts struct {
	state    *bucket
	provider provider.Provider

	mu    sync.Mutex
	known map[string]provider.Account
}

func newAccounts(state *bucket, p provider.Provider) *accounts {
	return &accounts{state: state, provider: p, known: map[string]provider.Account{}}
}

func connectionKey(name string) string { return "connection." + name }

// keep makes sure that the connection is in the bucket.
func (a *accounts) keep(ctx context.Context, c provider.Connection) error {
	a.mu.Lock()
	_, ok := a.known[c.Name]
	a.mu.Unlock()
	if ok {
		return nil
	}
	_, revision, err := a.state.get(ctx, connectionKey(c.Name))
	if errors.Is(err, errNotFound) {
		var data []byte
		if data, err = json.Marshal(c); err != nil {
			return err
		}
		if _, err = a.state.put(ctx, connectionKey(c.Name), data, revision, 0); errors.Is(err, errConflict) {
			err = nil // another replica was faster, with the same
		}
	}
	if err != nil {
		return err
	}
	_, err = a.connect(ctx, c)
	return err
}

// of returns the account that a lease's record names.
func (a *accounts) of(ctx context.Context, r messages.Record) (provider.Account, error) {
	a.mu.Lock()
	account, ok := a.known[r.Connection]
	a.mu.Unlock()
	if ok {
		return account, nil
	}
	data, _, err := a.state.get(ctx, connectionKey(r.Connection))
	if err != nil {
		return nil, fmt.Errorf("connection %s: %w", r.Connection, err)
	}
	var c provider.Connection
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("connection %s: %w", r.Connection, err)
	}
	return a.connect(ctx, c)
}

func (a *accounts) connect(ctx context.Context, c provider.Connection) (provider.Account, error) {
	account, err := a.provider.Connect(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("connection %s: %w", c.Name, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known[c.Name] = account
	return account, nil
}
