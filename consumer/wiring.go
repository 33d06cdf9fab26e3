package consumer

import (
	"context"

	"github.com/lessorhq/lessor/consumer/internal/admin"
	"github.com/lessorhq/lessor/consumer/internal/api"
	"github.com/lessorhq/lessor/consumer/internal/connection"
	"github.com/lessorhq/lessor/consumer/internal/events"
	"github.com/lessorhq/lessor/consumer/internal/lease"
	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/consumer/internal/restore"
	"github.com/lessorhq/lessor/consumer/internal/secrets"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/consumer/internal/sweep"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
)

// components are those that exist before the consumer starts. The engine, the workers
// and the micro services are made by [Consumer.Start].
type components struct {
	installation string
	topology     *queue.Topology
	state        *bucket.Bucket
	leases       *store.Leases
	reserve      *store.Reserve
	outbox       *queue.Outbox
	events       *events.Log
	marks        *events.Marks
	connections  *connection.Registry
	secrets      *secrets.Registry
	guard        *restore.Guard
	sweeper      *sweep.Sweeper
}

// open makes sure of everything that is stored, and builds the components on it.
func (c *Consumer) open(ctx context.Context) (*components, error) {
	cfg := c.cfg
	p := &components{topology: &queue.Topology{
		JS: c.js, Namespace: cfg.Namespace, Replicas: cfg.Streams.Replicas, AtomicPublish: cfg.Streams.MinBatch > 0,
		EventAge: cfg.Streams.EventAge, AckWait: cfg.Streams.AckWait,
	}}
	if err := p.topology.CheckLeaseBucket(ctx); err != nil {
		return nil, err
	}
	if err := p.topology.Ensure(ctx); err != nil {
		return nil, err
	}
	secretBucket, err := p.openBuckets(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := store.CheckKeys(ctx, p.state, cfg.Keys); err != nil {
		return nil, err
	}
	if p.installation, err = store.InstallationID(ctx, p.state, cfg.Rand); err != nil {
		return nil, err
	}
	p.connections = connection.New(connection.Config{
		State: p.state, Provider: cfg.Provider, Keys: cfg.Keys, Installation: p.installation, Now: cfg.Now, Log: cfg.Log, ProbeEvery: cfg.ProbeEvery,
		InUse: func(ctx context.Context, name string) (bool, error) {
			used, err := p.leases.UsedConnections(ctx)
			return err == nil && used(name), err
		},
	})
	p.secrets = secrets.New(secrets.Config{
		Bucket: secretBucket, Provider: cfg.Provider, Connections: p.connections, Leases: p.leases, Commands: p.outbox,
		ExternalID: cfg.ExternalID, MinTTL: cfg.MinTTL, Installation: p.installation, Log: cfg.Log,
	})
	p.events.Installation = p.installation
	p.marks = events.NewMarks(p.events, p.state)
	p.guard = restore.NewGuard(restore.GuardConfig{
		State: p.state, Leases: p.leases, Restored: cfg.Restored, RetryMin: cfg.RetryMin, Now: cfg.Now, Log: cfg.Log, Meter: cfg.Meter,
	})
	p.sweeper = sweep.New(sweep.Config{
		Leases: p.leases, Connections: p.connections, Events: p.events, State: p.state, Installation: p.installation, Guarded: p.guard.Active,
		Every: cfg.Sweep.Every, Grace: cfg.Sweep.Grace, MaxRemovals: cfg.Sweep.Most, RemovalTimeout: cfg.Timing.Teardown,
		Now: cfg.Now, Log: cfg.Log, Meter: cfg.Meter,
	})
	if err := p.connections.Reseal(ctx); err != nil {
		return nil, err
	}
	if err := p.guard.Detect(ctx, true); err != nil {
		return nil, err
	}
	return p, p.marks.Update(ctx) // before there is an event that could be removed
}

// openBuckets opens the buckets and builds what writes to streams. All writes report
// their outcome to the health tracker and to the free-space reserve.
func (p *components) openBuckets(ctx context.Context, c *Consumer) (secretBucket *bucket.Bucket, err error) {
	n := c.cfg.Namespace
	opened := map[string]*bucket.Bucket{}
	for _, name := range []string{n.LeaseBucket(), n.SecretBucket(), n.StateBucket()} {
		if opened[name], err = bucket.Open(ctx, c.js, name); err != nil {
			return nil, err
		}
	}
	p.reserve = store.NewReserve(opened[n.StateBucket()], c.cfg.Reserve, c.cfg.MaintainEvery, c.health, c.cfg.Log)
	wrote := func(place string, err error) {
		c.health.Wrote(place, err)
		p.reserve.Wrote(err)
	}
	reporting := func(name string, w bucket.Publisher) *bucket.Bucket {
		return opened[name].With(w, func(err error) { wrote(bucket.StreamName(name), err) })
	}
	minBatch := c.cfg.Streams.MinBatch
	if minBatch > 0 && !opened[n.LeaseBucket()].Stream.CachedInfo().Config.AllowAtomicPublish {
		c.cfg.Log.Warn().Msg("the NATS server is older than 2.12 and has no atomic batches: each write is flushed by itself")
		minBatch = 0
	}
	p.leases = store.NewLeases(reporting(n.LeaseBucket(), store.NewGroupCommit(c.js, minBatch)), c.cfg.TombstoneAge)
	p.state = reporting(n.StateBucket(), nil)
	p.outbox = queue.NewOutbox(c.js, n, c.lifetime, minBatch, wrote)
	p.events = events.New(events.Config{
		JS: c.js, Namespace: n, Keys: c.cfg.Keys, Publisher: store.NewGroupCommit(c.js, minBatch), Wrote: wrote, Now: c.cfg.Now, Log: c.cfg.Log,
	})
	return reporting(n.SecretBucket(), nil), nil
}

func (c *Consumer) engineSettings() lease.Settings {
	cfg := c.cfg
	return lease.Settings{
		Namespace: cfg.Namespace, Installation: c.components.installation, Keys: cfg.Keys, Timing: cfg.Timing, MinTTL: cfg.MinTTL, ExternalID: cfg.ExternalID,
		NoRespondersWait: cfg.NoRespondersWait, ProbeEvery: cfg.ProbeEvery, RetryMin: cfg.RetryMin, RetryMax: cfg.RetryMax,
		Now: cfg.Now, Rand: cfg.Rand, Log: cfg.Log, Meter: cfg.Meter,
	}
}

// workersPerCleanup is how many workers for revocations there are for each cleanup
// that may run.
const workersPerCleanup = 2

func (c *Consumer) engineParts() lease.Parts {
	p := c.components
	return lease.Parts{
		Conn: c.cfg.Conn, Leases: p.leases, Events: p.events, Provider: c.cfg.Provider, Accounts: p.connections, Secrets: p.secrets,
		Outbox: p.outbox, Reserve: p.reserve, Limits: c.limits(), Guard: p.guard, Lifetime: c.lifetime,
		CleanupSlots: c.cfg.Workers.Revoke / workersPerCleanup, MaxCleanups: c.cfg.Workers.MaxCleanups,
	}
}

func (c *Consumer) limits() lease.Limits {
	return lease.Limits{Live: c.cfg.Index.Live, Rate: c.cfg.Index, MaxRequestsPerMinute: c.cfg.MaxRequestsPerMinute}
}

func (c *Consumer) workersConfig() queue.WorkersConfig {
	cfg := c.cfg
	return queue.WorkersConfig{
		Namespace: cfg.Namespace, Topology: c.components.topology, Replier: queue.Replier{Conn: cfg.Conn}, Rejecter: c.components.events,
		Lifetime: c.lifetime, Meter: cfg.Meter, Now: cfg.Now, Log: cfg.Log,
		AckWait: cfg.Streams.AckWait, RetryMin: cfg.RetryMin, RetryMax: cfg.RetryMax, Heartbeat: cfg.Streams.PullHeartbeat,
	}
}

func (c *Consumer) apiConfig() api.Config {
	p := c.components
	return api.Config{
		Conn: c.cfg.Conn, Namespace: c.cfg.Namespace, Leases: p.leases, Outbox: p.outbox, Events: p.events, Limits: c.limits(),
		Secret: func(ctx context.Context, name string) (messages.DynamicSecret, error) {
			s, err := p.secrets.Get(ctx, name)
			return s.DynamicSecret, err
		},
		CheckRequester: lease.CheckRequester, Known: c.cfg.Index.Known, Reserve: p.reserve, Health: c.health,
		Lifetime: c.lifetime, Now: c.cfg.Now, Log: c.cfg.Log, Meter: c.cfg.Meter,
	}
}

func (c *Consumer) adminConfig() admin.Config {
	p := c.components
	return admin.Config{
		Conn: c.cfg.Conn, Namespace: c.cfg.Namespace, Leases: p.leases, Events: p.events, Secrets: p.secrets,
		Secret: func(ctx context.Context, name string) (messages.DynamicSecret, error) {
			s, err := p.secrets.Fresh(ctx, name)
			return s.DynamicSecret, err
		},
		DryRun: c.engine.DryRuns.Run, RotateKey: p.connections.Rotate, ExternalID: c.cfg.ExternalID,
		GiveUp: c.engine.Teardown.GiveUp, Revoke: p.outbox.Revoke, Sweeper: p.sweeper,
		Restorer: restore.NewRestorer(restore.RestorerConfig{
			Guard: p.guard, Leases: p.leases, Sweeper: p.sweeper, Events: p.events, Commands: p.outbox,
			Timing: c.cfg.Timing, Now: c.cfg.Now, Log: c.cfg.Log,
		}),
		Keys: c.cfg.Keys, Lifetime: c.lifetime, Rand: c.cfg.Rand, Log: c.cfg.Log,
	}
}
