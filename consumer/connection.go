package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/sync/singleflight"

	"github.com/lessorhq/lessor/messages"
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

// leads says whether another connection should have this one's key: it is the same
// principal's, as AWS has said, or because its key has been retired here.
func (c storedConnection) leads(other storedConnection) bool {
	if c.Secret == nil || other.Secret == nil || c.Auth.AccessKeyID == other.Auth.AccessKeyID || slices.Contains(other.Retired, c.Auth.AccessKeyID) {
		return false
	}
	return slices.Contains(c.Retired, other.Auth.AccessKeyID) || c.samePrincipal(other)
}

// samePrincipal says whether two connections are known to be one principal's.
func (c storedConnection) samePrincipal(other storedConnection) bool {
	return c.Principal != nil && other.Principal != nil && *c.Principal == *other.Principal
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
			return used[name], err
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
	c, err := decodeConnection(data)
	if err != nil {
		return c, revision, fmt.Errorf("connection %s: %w", name, err)
	}
	return c, revision, nil
}

func decodeConnection(data []byte) (storedConnection, error) {
	var c storedConnection
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("damaged: %w", err)
	}
	if c.Version != storedConnectionVersion {
		return c, fmt.Errorf("it is of version %d, and this broker knows %d", c.Version, storedConnectionVersion)
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

// purpose is what a connection's key is sealed for.
func purpose(name string) string { return connectionPrefix + name }

// ensure makes sure that a connection is kept that a definition asks for, with the
// secret key that it brings. A key that has been rotated away since is not taken
// back. Where the definition has no secret key there must be one already. It returns
// whether the secret key is another than before.
func (a *connections) ensure(ctx context.Context, c provider.Connection) (changed bool, err error) {
	changed, err = a.store(ctx, c)
	if err != nil || c.Auth.Method != messages.AuthAccessKey {
		return changed, err
	}
	return changed, a.catchUp(ctx, c.Name)
}

func (a *connections) store(ctx context.Context, c provider.Connection) (changed bool, err error) {
	secret := c.Auth.SecretAccessKey
	for {
		have, revision, err := a.load(ctx, c.Name)
		if err != nil && !errors.Is(err, errNotFound) {
			return false, err
		}
		known := err == nil
		if c.Auth.Method == messages.AuthAccessKey && secret.IsZero() && have.Secret == nil {
			return false, messages.Errorf(messages.CodeInvalidSecret, "aws.auth.secret_access_key is missing: lessor has no secret for %s yet", c.Auth.AccessKeyID)
		}
		next := have
		if !known {
			next = storedConnection{Version: storedConnectionVersion, Name: c.Name, Region: c.Region, Auth: c.Auth}
			next.Auth.SecretAccessKey = messages.Sensitive{}
		}
		newSecret, err := a.isNew(have, c)
		if err != nil {
			return false, err
		}
		if newSecret {
			if next.Secret, err = a.keys.Keep(purpose(c.Name), secret); err != nil {
				return false, err
			}
		}
		if known && !newSecret && a.now().Sub(have.KeptAt) < keptAgain {
			return false, nil
		}
		next.KeptAt, next.UnusedSince = a.now().UTC(), time.Time{}
		if _, err = a.save(ctx, next, revision); !errors.Is(err, errConflict) {
			return newSecret, err
		}
	}
}

// catchUp gives a connection the key that has taken the place of its own, where a
// rotation of another connection has retired that. Rotations write down first what
// they retire and then look for connections that have it; here it is the other way
// round, so one of the two sees the other.
func (a *connections) catchUp(ctx context.Context, name string) error {
	c, _, err := a.load(ctx, name)
	if err != nil {
		return err
	}
	others, err := a.others(ctx, name)
	if err != nil {
		return err
	}
	for _, other := range others {
		if slices.Contains(other.Retired, c.Auth.AccessKeyID) {
			return a.share(ctx, other)
		}
	}
	return nil
}

// vet makes sure that a secret key works that would take the place of one that is
// kept: leases that are alive need that.
func (a *connections) vet(ctx context.Context, c provider.Connection) error {
	have, _, err := a.load(ctx, c.Name)
	if errors.Is(err, errNotFound) || err == nil && have.Secret == nil {
		return nil
	}
	if err != nil {
		return err
	}
	if other, err := a.isNew(have, c); err != nil || !other {
		return err
	}
	c.Name += nextName
	account, err := a.provider.Connect(ctx, c)
	if err != nil {
		return err
	}
	_, err = account.Identify(ctx)
	return err
}

// nextName is behind the name of a connection that is tried beside the one that is
// in use.
const nextName = ".next"

// isNew says whether the secret key that comes with a definition is another than
// the one that is kept, for the key in use.
func (a *connections) isNew(have storedConnection, c provider.Connection) (bool, error) {
	switch {
	case c.Auth.SecretAccessKey.IsZero():
		return false, nil
	case have.Secret == nil:
		return true, nil
	case have.Auth.AccessKeyID != c.Auth.AccessKeyID:
		return false, nil
	}
	kept, err := a.keys.Kept(purpose(c.Name), have.Secret)
	return kept.Reveal() != c.Auth.SecretAccessKey.Reveal(), err
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
func (a *connections) of(ctx context.Context, r messages.Record) (provider.Account, error) {
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
		if conn.Auth.SecretAccessKey, err = a.keys.Kept(purpose(c.Name), c.Secret); err != nil {
			return conn, err
		}
	}
	return conn, nil
}

// share gives the key of a connection that works to all other connections of the
// same principal: theirs may have been deleted by hand, and leases may need them.
// One that has retired the key itself does not take it back.
func (a *connections) share(ctx context.Context, c storedConnection) error {
	if c.Secret == nil {
		return nil
	}
	secret, err := a.keys.Kept(purpose(c.Name), c.Secret)
	if err != nil {
		return err
	}
	others, err := a.others(ctx, c.Name)
	if err != nil {
		return err
	}
	for _, other := range others {
		if !c.leads(other) {
			continue
		}
		box, err := a.keys.Keep(purpose(other.Name), secret)
		if err != nil {
			return err
		}
		err = a.change(ctx, other.Name, func(other *storedConnection) bool {
			if !c.leads(*other) {
				return false
			}
			other.Auth.AccessKeyID, other.Secret, other.RotatedAt = c.Auth.AccessKeyID, box, a.now().UTC()
			for _, id := range c.Retired {
				if !slices.Contains(other.Retired, id) {
					other.Retired = append(other.Retired, id)
				}
			}
			return true
		})
		if err != nil && !errors.Is(err, errNotFound) {
			return err
		}
	}
	return nil
}

// others are all connections but one. Those that can't be read are left out: they
// are no reason for the rest not to work.
func (a *connections) others(ctx context.Context, name string) ([]storedConnection, error) {
	keys, err := a.state.keys(ctx, connectionPrefix+"*")
	if err != nil {
		return nil, err
	}
	var all []storedConnection
	for _, key := range keys {
		if key == connectionKey(name) {
			continue
		}
		data, _, err := a.state.get(ctx, key)
		if errors.Is(err, errNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c, err := decodeConnection(data)
		if err != nil {
			a.log.Error().Err(err).Str("connection", key).Msg("a connection that can't be read is left out")
			continue
		}
		all = append(all, c)
	}
	return all, nil
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

// reseal seals every key anew that is not sealed with the keyring's first key, so
// that the old ones can leave the key file.
func (a *connections) reseal(ctx context.Context) error {
	keys, err := a.state.keys(ctx, connectionPrefix+"*")
	if err != nil {
		return err
	}
	for _, key := range keys {
		name := strings.TrimPrefix(key, connectionPrefix)
		var failed error
		err := a.change(ctx, name, func(c *storedConnection) bool {
			var changed, next bool
			changed, failed = a.sealAnew(name, &c.Secret)
			if c.Rotation != nil && failed == nil {
				next, failed = a.sealAnew(name, &c.Rotation.Secret)
			}
			return failed == nil && (changed || next)
		})
		if err = errors.Join(err, failed); err != nil && !errors.Is(err, errNotFound) {
			return fmt.Errorf("connection %s: %w", name, err)
		}
	}
	return nil
}

func (a *connections) sealAnew(name string, box **messages.Sealed) (bool, error) {
	if *box == nil || (*box).From == a.keys.PublicKeys()[0] {
		return false, nil
	}
	secret, err := a.keys.Kept(purpose(name), *box)
	if err != nil {
		return false, err
	}
	*box, err = a.keys.Keep(purpose(name), secret)
	return true, err
}

// learn drops a connection that has been changed since it was reached.
func (a *connections) learn(name string, value []byte, revision uint64) {
	var conn provider.Connection
	c, err := decodeConnection(value)
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
	defer leave(w)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("the watch has ended")
			}
			if e != nil {
				a.learn(strings.TrimPrefix(e.Key(), connectionPrefix), e.Value(), e.Revision())
			}
		}
	}
}
