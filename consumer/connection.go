package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/sync/singleflight"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

// storedConnection is a connection as it stands in the state bucket. A definition
// and its leases name it; what it takes to reach AWS is here alone, so that a key
// can be changed under leases that are alive.
//
//	{"v":1,"name":"access_key-eu-central-1-5f…","region":"eu-central-1",
//	 "auth":{"method":"access_key","access_key_id":"AKIA…"},"secret":{"from":"X…","box":"…"},
//	 "principal":{"account":"123456789012","arn":"arn:aws:iam::…:user/lessor"},"kept_at":"…"}
type storedConnection struct {
	Version int              `json:"v"`
	Name    string           `json:"name"`
	Region  string           `json:"region"`
	Auth    messages.Auth    `json:"auth"`             // with the key in use, without its secret
	Secret  *messages.Sealed `json:"secret,omitempty"` // of the key in use
	// Principal is who AWS said this is, once it was asked. It never becomes that
	// of another account: what its leases' users are must not be looked for there.
	Principal *provider.Principal `json:"principal,omitempty"`
	// Paths are the IAM paths that users of leases have ever had here.
	Paths  []string  `json:"paths,omitempty"`
	KeptAt time.Time `json:"kept_at"` // when a definition was last put that names it, or a little before
	// UnusedSince is when it was first found that nothing names it.
	UnusedSince time.Time `json:"unused_since,omitzero"`
	RotatedAt   time.Time `json:"rotated_at,omitzero"`
	Rotation    *rotation `json:"rotation,omitempty"` // one that is not finished
	// Retired are the ids of the keys that rotations have put out of use. Definitions
	// go on naming them.
	Retired []string `json:"retired,omitempty"`
}

const storedConnectionVersion = 1

// keptAgain is how old KeptAt may be when a definition that names the connection is
// put, and unused is how old it must be before a connection is dropped that
// nothing names: a definition that is just being put is no reason any more.
const (
	keptAgain = 5 * time.Minute
	unused    = 15 * time.Minute
)

// connections reaches AWS. A connection is written to the state bucket before the
// first lease names it, so that whoever undoes the lease knows it, whatever becomes
// of the definition. A watch tells when another replica has changed one.
type connections struct {
	state        *bucket
	provider     provider.Provider
	keys         *messages.Keyring
	installation string
	now          func() time.Time
	log          zerolog.Logger
	inUse        func(ctx context.Context, name string) (bool, error) // whether a lease names it

	flights singleflight.Group // connections that are being made

	mu    sync.Mutex
	known map[string]reached
	seen  map[string]uint64 // the revision that the watch has last told of
	paths map[string]bool   // connections and paths that are written down
}

// reached is a connection that works, and what it was made from.
type reached struct {
	provider.Account
	from   provider.Connection
	number string // of the account
}

func newConnections(state *bucket, leases *leaseStore, cfg Config, installation string) *connections {
	return &connections{
		state: state, provider: cfg.Provider, keys: cfg.Keys, installation: installation, now: cfg.Now, log: cfg.Log,
		inUse: func(ctx context.Context, name string) (bool, error) {
			used, err := leases.usedConnections(ctx)
			return err == nil && used(name), err
		},
		known: map[string]reached{}, seen: map[string]uint64{}, paths: map[string]bool{},
	}
}

const connectionPrefix = "connection."

func connectionKey(name string) string { return connectionPrefix + name }

// identifyTimeout bounds the question who the broker is.
const identifyTimeout = 15 * time.Second

func (a *connections) load(ctx context.Context, name string) (storedConnection, uint64, error) {
	data, revision, err := a.state.get(ctx, connectionKey(name))
	if err != nil {
		return storedConnection{}, revision, err
	}
	c, err := decodeConnection(name, data)
	return c, revision, err
}

// errUnreadableConnection says that a connection is damaged, or a newer broker's. It
// is set aside: left as it is, and no reason for others not to work.
var errUnreadableConnection = errors.New("it can't be read, and is left alone")

func decodeConnection(name string, data []byte) (storedConnection, error) {
	var c storedConnection
	err := json.Unmarshal(data, &c)
	switch {
	case err != nil:
		err = fmt.Errorf("it is damaged: %s", clip(err.Error()))
	case c.Version != storedConnectionVersion:
		err = fmt.Errorf("it is of version %d, and this broker knows %d", c.Version, storedConnectionVersion)
	case c.Name != name:
		err = errors.New("it is damaged: it is another's")
	}
	if err != nil {
		return storedConnection{}, fmt.Errorf("connection %s: %w: %w", clip(name), errUnreadableConnection, err)
	}
	return c, nil
}

func (a *connections) save(ctx context.Context, c storedConnection, revision uint64) (uint64, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return 0, err
	}
	return a.state.put(ctx, connectionKey(c.Name), data, revision, 0)
}

// change saves what f makes of the connection, over whatever others write
// meanwhile. f returns false to leave it as it is.
func (a *connections) change(ctx context.Context, name string, f func(*storedConnection) bool) error {
	for {
		c, revision, err := a.load(ctx, name)
		if err != nil {
			return err
		}
		if !f(&c) {
			return nil
		}
		if _, err = a.save(ctx, c, revision); !errors.Is(err, errConflict) {
			return err
		}
	}
}

// keep makes sure that the connection of a definition that is stored is kept and
// works.
func (a *connections) keep(ctx context.Context, c provider.Connection) error {
	_, err := a.reach(ctx, c.Name)
	if errors.Is(err, errNotFound) {
		if _, err = a.ensure(ctx, c); err == nil {
			_, err = a.reach(ctx, c.Name)
		}
	}
	return err
}

// of returns the account that a lease's record names.
func (a *connections) of(ctx context.Context, r record.Record) (provider.Account, error) {
	return a.reach(ctx, r.Connection)
}

// reach connects, or returns the connection that there is. All who want the same
// one at the same time wait for one of them.
func (a *connections) reach(ctx context.Context, name string) (provider.Account, error) {
	a.mu.Lock()
	have, ok := a.known[name]
	a.mu.Unlock()
	if ok {
		return have.Account, nil
	}
	flight := a.flights.DoChan(name, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), identifyTimeout)
		defer cancel()
		return a.connect(ctx, name)
	})
	select {
	case r := <-flight:
		account, _ := r.Val.(provider.Account)
		return account, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// connect connects as the bucket says, and makes sure that this is the account
// that it was before.
func (a *connections) connect(ctx context.Context, name string) (provider.Account, error) {
	c, revision, err := a.load(ctx, name)
	if err != nil {
		return nil, err
	}
	conn, account, err := a.open(ctx, c)
	if err != nil {
		return nil, err
	}
	me, err := account.Identify(ctx)
	if err != nil {
		return nil, err
	}
	if c.Principal != nil && c.Principal.Account != me.Account {
		used, err := a.inUse(ctx, name)
		if err != nil {
			return nil, err
		}
		if used {
			a.log.Error().Str("connection", name).Str("account", c.Principal.Account).Str("account_now", me.Account).Str("arn", me.ARN).
				Msg("the broker's credentials are for another AWS account than before; what is alive in the first can't be reached")
			return nil, errOtherAccount
		}
	}
	if c.Principal == nil || *c.Principal != me {
		if err := a.introduce(ctx, c, me); err != nil {
			return nil, err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.seen[name] <= revision {
		a.known[name] = reached{Account: account, from: conn, number: me.Account}
	}
	return account, nil
}

// errOtherAccount is for requesters, too.
var errOtherAccount = messages.Errorf(messages.CodeUnavailable,
	"the broker's AWS credentials are of another account than the one its leases are in; its operator must see to that")

// introduce has the others of the same principal know a connection's key, and then
// writes down who it is: that is what says that they have been told.
func (a *connections) introduce(ctx context.Context, c storedConnection, me provider.Principal) error {
	a.log.Info().Str("connection", c.Name).Str("account", me.Account).Str("arn", me.ARN).Msg("AWS")
	c.Principal = &me
	if err := a.share(ctx, c); err != nil {
		return err
	}
	return a.change(ctx, c.Name, func(have *storedConnection) bool {
		have.Principal = &me
		return true
	})
}

// open makes the provider's account for a connection.
func (a *connections) open(ctx context.Context, c storedConnection) (provider.Connection, provider.Account, error) {
	conn, err := a.complete(c)
	if err != nil {
		return conn, nil, err
	}
	account, err := a.provider.Connect(ctx, conn)
	if err != nil {
		return conn, nil, fmt.Errorf("connection %s: %w", c.Name, err)
	}
	return conn, account, nil
}

// complete is the connection with its secret key.
func (a *connections) complete(c storedConnection) (provider.Connection, error) {
	conn := provider.Connection{Name: c.Name, Region: c.Region, Auth: c.Auth, Session: "lessor-" + a.installation}
	if c.Secret != nil {
		var err error
		if conn.Auth.SecretAccessKey, err = a.keys.OpenValue(purpose(c.Name), c.Secret); err != nil {
			return conn, err
		}
	}
	return conn, nil
}

// info is a connection as operators see it.
func (a *connections) info(ctx context.Context, name string) (messages.Connection, error) {
	c, _, err := a.load(ctx, name)
	if errors.Is(err, errNotFound) {
		return messages.Connection{Name: name}, nil
	}
	if err != nil {
		return messages.Connection{}, err
	}
	info := messages.Connection{Name: name, ExternalID: c.Auth.ExternalID, RotatedAt: c.RotatedAt}
	if c.Secret != nil {
		info.AccessKeyID = c.Auth.AccessKeyID
	}
	if c.Principal != nil {
		info.Account, info.ARN = c.Principal.Account, c.Principal.ARN
	}
	return info, nil
}

// learn drops a connection that has been changed since it was reached.
func (a *connections) learn(name string, value []byte, revision uint64) {
	var conn provider.Connection
	c, err := decodeConnection(name, value)
	if err == nil {
		conn, err = a.complete(c)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen[name] = revision
	have, ok := a.known[name]
	if ok && (err != nil || !reflect.DeepEqual(have.from, conn) || c.Principal != nil && c.Principal.Account != have.number) {
		delete(a.known, name)
	}
}

// watch follows the connections until ctx ends or the watch breaks.
func (a *connections) watch(ctx context.Context, kv jetstream.KeyValue) error {
	w, err := kv.Watch(ctx, connectionPrefix+">")
	if err != nil {
		return err
	}
	return eachUpdate(ctx, w, func(e jetstream.KeyValueEntry) {
		a.learn(strings.TrimPrefix(e.Key(), connectionPrefix), e.Value(), e.Revision())
	})
}
