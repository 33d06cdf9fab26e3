package connection

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/sync/singleflight"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/provider"
)

// Connector connects to accounts. A [provider.Provider] is one.
type Connector interface {
	Connect(context.Context, provider.Connection) (provider.Account, error)
}

// Config is what a [Registry] needs. All fields must be set.
type Config struct {
	State        *bucket.Bucket // the state bucket
	Provider     Connector
	Keys         *messages.Keyring // seals access keys
	Installation string            // the installation's id; it is in the name of the broker's role sessions
	Now          func() time.Time
	Log          zerolog.Logger
	// InUse reports whether a lease names the connection.
	InUse func(ctx context.Context, name string) (bool, error)
	// ProbeEvery is the wait between two tests of a new access key.
	ProbeEvery time.Duration
}

// Registry keeps the connections. It is safe for concurrent use.
type Registry struct {
	state        *bucket.Bucket
	provider     Connector
	keys         *messages.Keyring
	installation string
	now          func() time.Time
	log          zerolog.Logger
	inUse        func(ctx context.Context, name string) (bool, error)
	probeEvery   time.Duration

	connecting singleflight.Group // by name

	mu   sync.Mutex
	open map[string]*opened
	seen map[string]uint64 // the last revision that the watch has reported
}

// opened is a connection that AWS has accepted.
type opened struct {
	account provider.Account
	number  string              // of the account
	from    provider.Connection // what it was made from
	paths   map[string]bool     // paths that are stored
}

// New returns a registry of the connections in the state bucket.
func New(cfg Config) *Registry {
	return &Registry{
		state: cfg.State, provider: cfg.Provider, keys: cfg.Keys, installation: cfg.Installation, now: cfg.Now, log: cfg.Log,
		inUse: cfg.InUse, probeEvery: cfg.ProbeEvery, open: map[string]*opened{}, seen: map[string]uint64{},
	}
}

// Names returns the names of all connections, also of those that can't be read.
func (r *Registry) Names(ctx context.Context) ([]string, error) {
	var names []string
	err := r.each(ctx, func(name string, _ entry, _ error) { names = append(names, name) })
	return names, err
}

// Stored returns the number of a connection's account ("" before AWS was asked) and the
// IAM paths that users of leases have had there. It returns [bucket.ErrNotFound] if
// there is no such connection, and [ErrUnreadable] if it can't be read.
func (r *Registry) Stored(ctx context.Context, name string) (account string, paths []string, err error) {
	e, err := r.load(ctx, name)
	if err != nil {
		return "", nil, err
	}
	if e.Principal != nil {
		account = e.Principal.Account
	}
	return account, e.Paths, nil
}

// Info returns a connection as it is shown to operators. If it is not stored there is
// only its name. It returns [ErrUnreadable] if it can't be read.
func (r *Registry) Info(ctx context.Context, name string) (messages.Connection, error) {
	e, err := r.load(ctx, name)
	if errors.Is(err, bucket.ErrNotFound) {
		return messages.Connection{Name: name}, nil
	}
	if err != nil {
		return messages.Connection{}, err
	}
	info := messages.Connection{Name: name, ExternalID: e.Auth.ExternalID, RotatedAt: e.RotatedAt}
	if e.Secret != nil {
		info.AccessKeyID = e.Auth.AccessKeyID
	}
	if e.Principal != nil {
		info.Account, info.ARN = e.Principal.Account, e.Principal.ARN
	}
	return info, nil
}

// AddPath stores an IAM path of a connection's users, so that the sweep lists the users
// below it whatever becomes of the definition. "" is no path. It returns
// [bucket.ErrNotFound] if there is no such connection.
func (r *Registry) AddPath(ctx context.Context, name, path string) error {
	if path == "" || r.hasPath(name, path) {
		return nil
	}
	err := r.update(ctx, name, func(s *stored) bool {
		if slices.Contains(s.Paths, path) {
			return false
		}
		s.Paths = append(s.Paths, path)
		return true
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if o := r.open[name]; o != nil {
		o.paths[path] = true
	}
	return nil
}

func (r *Registry) hasPath(name, path string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.open[name]
	return o != nil && o.paths[path]
}

// Watch follows the connections until ctx ends. One that has been changed is connected
// anew when it is next reached.
func (r *Registry) Watch(ctx context.Context, js jetstream.JetStream) {
	level := zerolog.WarnLevel
	bucket.Watcher{
		Bucket: r.state.Name, Filter: keyPrefix + ">", Update: r.observe,
		Loaded: func() { level = zerolog.WarnLevel },
		Broken: func(err error, wait time.Duration) {
			r.forgetRevisions()
			r.log.WithLevel(level).Err(err).Dur("wait", wait).Msg("watching the connections failed; trying again")
			level = zerolog.DebugLevel
		},
	}.Run(ctx, js)
}

// observe closes the connection if what is stored differs from what it was made from.
func (r *Registry) observe(e bucket.Entry) {
	name := strings.TrimPrefix(e.Key, keyPrefix)
	var conn provider.Connection
	s, err := decode(name, e.Value)
	if err == nil {
		conn, err = r.complete(s)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[name] = e.Revision
	o := r.open[name]
	if o == nil {
		return
	}
	if err != nil || !reflect.DeepEqual(o.from, conn) || s.Principal != nil && s.Principal.Account != o.number {
		delete(r.open, name)
	}
}

// remember adds a connection that was read at that revision, unless the watch has
// reported a later one.
func (r *Registry) remember(name string, o *opened, revision uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[name] <= revision {
		r.open[name] = o
	}
}

// forgetRevisions is called when the watch has failed: in a bucket that was restored
// revisions count from a lower one.
func (r *Registry) forgetRevisions() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.seen)
}

// forget closes a connection that has been dropped.
func (r *Registry) forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, name)
}

func set(all []string) map[string]bool {
	m := make(map[string]bool, len(all))
	for _, s := range all {
		m[s] = true
	}
	return m
}
