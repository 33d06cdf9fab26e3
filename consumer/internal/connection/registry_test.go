package connection

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/cmd/embedded"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/provider"
)

// account is an account that accepts every key.
type account struct{ provider.Account }

func (account) Identify(context.Context) (provider.Principal, error) {
	return provider.Principal{Account: "123456789012", ARN: "arn:aws:iam::123456789012:user/manager"}, nil
}

func (account) Connect(context.Context, provider.Connection) (provider.Account, error) {
	return account{}, nil
}

// newRegistry returns a registry on a NATS server of its own, and a function that moves
// its clock.
func newRegistry(t *testing.T) (r *Registry, advance func(time.Duration)) {
	t.Helper()
	server, err := embedded.Start(embedded.Options{StoreDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	nc, err := server.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "state"}); err != nil {
		t.Fatal(err)
	}
	state, err := bucket.Open(t.Context(), js, "state")
	if err != nil {
		t.Fatal(err)
	}
	seed, err := messages.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := messages.ParseKeyring(seed)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	r = New(Config{
		State: state, Provider: account{}, Keys: keys, Installation: "test", Now: func() time.Time { return now }, Log: zerolog.Nop(),
		InUse: func(context.Context, string) (bool, error) { return false, nil }, ProbeEvery: time.Millisecond,
	})
	return r, func(d time.Duration) { now = now.Add(d) }
}

// withKey is a connection as the definition that is put asks for it.
func withKey() provider.Connection {
	return provider.Connection{Name: "access_key-us-east-1", Region: "us-east-1", Auth: messages.Auth{
		Method: messages.AuthAccessKey, AccessKeyID: "AKIAMANAGER", SecretAccessKey: messages.NewSensitive("the secret"),
	}}
}

func TestPathIsStoredAgainAfterTheConnectionWasDropped(t *testing.T) {
	r, advance := newRegistry(t)
	add := func(c provider.Connection) []string {
		t.Helper()
		if err := r.EnsureReachable(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if err := r.AddPath(t.Context(), c.Name, "/lessor/"); err != nil {
			t.Fatal(err)
		}
		_, paths, err := r.Stored(t.Context(), c.Name)
		if err != nil {
			t.Fatal(err)
		}
		return paths
	}
	add(withKey())
	c := markUnused(t, r, advance)
	if err := r.Drop(t.Context(), unnamed, swept); err != nil {
		t.Fatal(err)
	}
	if paths := add(c); !slices.Equal(paths, []string{"/lessor/"}) {
		t.Errorf("the paths are %v", paths)
	}
}
