package secrets

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer/internal/connection"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/provider"
)

// Checker checks definitions. A [provider.Provider] is one.
type Checker interface {
	Check(messages.DynamicSecret) error
	Notes(messages.DynamicSecret) []string
}

// Revoker publishes revocations by command.
type Revoker interface {
	// Revoke may leave it at a message about the lease that is pending, unless wait is
	// set.
	Revoke(ctx context.Context, name messages.LeaseName, why messages.Reason, note string, wait bool) error
}

// Config is what a [Registry] needs. All fields must be set, except where a zero value
// has a meaning.
type Config struct {
	Bucket      *bucket.Bucket // the secret bucket
	Provider    Checker
	Connections *connection.Registry
	Leases      *store.Leases
	Commands    Revoker
	// ExternalID is the external id that is sent where a role is assumed and the
	// definition has none; "" sends none.
	ExternalID string
	// MinTTL is the shortest lease; 0 is no limit.
	MinTTL       messages.Duration
	Installation string // the installation's id, shown to operators
	Log          zerolog.Logger
}

// Registry keeps the dynamic secrets. It is safe for concurrent use.
type Registry struct {
	bucket       *bucket.Bucket
	provider     Checker
	connections  *connection.Registry
	leases       *store.Leases
	commands     Revoker
	externalID   string
	minTTL       messages.Duration
	installation string
	log          zerolog.Logger

	mu       sync.RWMutex
	known    map[string]Compiled
	deleting map[string]bool
}

// New returns a registry of the definitions in the secret bucket.
func New(cfg Config) *Registry {
	return &Registry{
		bucket: cfg.Bucket, provider: cfg.Provider, connections: cfg.Connections, leases: cfg.Leases, commands: cfg.Commands,
		externalID: cfg.ExternalID, minTTL: cfg.MinTTL, installation: cfg.Installation, log: cfg.Log,
		known: map[string]Compiled{}, deleting: map[string]bool{},
	}
}

// ConnectionOf returns the connection of a definition.
func (r *Registry) ConnectionOf(d messages.DynamicSecret) provider.Connection {
	return provider.ConnectionOf(d, r.externalID)
}

// Get returns a definition from memory, a moment old at most, or else from the bucket.
// Its errors are those of [Registry.Fresh].
func (r *Registry) Get(ctx context.Context, name string) (Compiled, error) {
	if c, ok := r.inMemory(name); ok {
		return c, nil
	}
	return r.Fresh(ctx, name)
}

// Fresh returns a definition from the bucket's leader. It returns a [messages.Error] of
// code secret_not_found if there is none, secret_deleting if it is being deleted,
// invalid_secret if it can't be used, and internal with the cause [ErrNewerVersion] if a
// newer broker has put it; other errors are those of NATS.
func (r *Registry) Fresh(ctx context.Context, name string) (Compiled, error) {
	e, err := r.bucket.Get(ctx, name)
	if errors.Is(err, bucket.ErrNotFound) {
		return Compiled{}, errNoSecret(name)
	}
	if err != nil {
		return Compiled{}, err
	}
	if c, ok := r.inMemory(name); ok && bytes.Equal(c.raw, e.Value) {
		return c, nil
	}
	return compile(name, e.Value)
}

// Remember keeps a fresh definition in memory, until the watch reports another.
func (r *Registry) Remember(c Compiled) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[c.Name] = c
}

// Deleting returns the names of the dynamic secrets that are being deleted, as far as
// the watch has reported.
func (r *Registry) Deleting() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Sorted(maps.Keys(r.deleting))
}

// Watch keeps the copy in memory up to date until ctx ends. While the watch is broken
// the copy is empty, and definitions are read from the bucket.
func (r *Registry) Watch(ctx context.Context, js jetstream.JetStream) {
	level := zerolog.WarnLevel
	bucket.Watcher{
		Bucket: r.bucket.Name, Update: r.observe,
		Loaded: func() { level = zerolog.WarnLevel },
		Broken: func(err error, wait time.Duration) {
			r.forgetAll()
			r.log.WithLevel(level).Err(err).Dur("wait", wait).Msg("watching the dynamic secrets failed; trying again")
			level = zerolog.DebugLevel
		},
	}.Run(ctx, js)
}

// observe notes what the watch has reported. A definition that issues no leases is not
// kept: requests for it read the bucket, and get the error.
func (r *Registry) observe(e bucket.Entry) {
	c, err := compile(e.Key, e.Value)
	r.setDeleting(e.Key, !e.Deleted && messages.IsCode(err, messages.CodeSecretDeleting))
	if e.Deleted || err != nil {
		r.forget(e.Key)
		return
	}
	r.Remember(c)
}

func (r *Registry) inMemory(name string) (Compiled, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	c, ok := r.known[name]
	return c, ok
}

func (r *Registry) forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, name)
}

func (r *Registry) forgetAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.known)
}

func (r *Registry) setDeleting(name string, deleting bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if deleting {
		r.deleting[name] = true
	} else {
		delete(r.deleting, name)
	}
}
