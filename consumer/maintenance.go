package consumer

import (
	"context"
	"time"

	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/messages/retry"
)

// startMaintenance starts what goes on without a message, for as long as the consumer
// takes new work. Every replica does all of it; compare-and-set on the state bucket
// keeps the replicas apart. Each duty has a goroutine of its own: a rotation may wait
// for AWS, and holds up nothing else.
func (c *Consumer) startMaintenance() {
	p, running := c.components, c.lifetime.Running()
	monitor := &queue.Monitor{
		Topology: p.topology, Conn: c.cfg.Conn, State: p.state, Health: c.health, Every: c.cfg.MaintainEvery, Log: c.cfg.Log,
	}
	c.lifetime.Go(func() { p.secrets.Watch(running, c.js) })
	c.lifetime.Go(func() { p.connections.Watch(running, c.js) })
	c.lifetime.Go(func() { monitor.Run(running) })
	c.lifetime.Go(func() { p.reserve.Run(running) })
	for _, d := range []struct {
		what  string
		every time.Duration
		run   func(context.Context) error
	}{
		{"deletions of dynamic secrets", c.cfg.MaintainEvery, p.secrets.ContinueDeletions},
		{"events of omitted refusals", c.cfg.MaintainEvery, func(ctx context.Context) error { p.events.EmitOmitted(ctx, false); return nil }},
		{"marks of the event stream", c.maintainRarely(), p.marks.Update},
		{"unused connections", c.maintainRarely(), c.dropConnections},
		{"key rotations", c.maintainRarely(), p.connections.ContinueRotations},
		{"sweeps", c.maintainRarely(), func(ctx context.Context) error { p.sweeper.RunDue(ctx); return nil }},
		{"detection of a restored lease bucket", c.maintainRarely(), func(ctx context.Context) error { return p.guard.Detect(ctx, false) }},
	} {
		c.lifetime.Go(func() { c.maintain(running, d.what, d.every, d.run) })
	}
}

// maintain repeats a duty until ctx ends. A duty that takes long (a deletion of very
// many leases lists them each time) is repeated more rarely.
func (c *Consumer) maintain(ctx context.Context, what string, every time.Duration, duty func(context.Context) error) {
	for retry.Sleep(ctx, every) == nil {
		began := time.Now()
		if err := duty(ctx); err != nil && ctx.Err() == nil {
			c.cfg.Log.Warn().Err(err).Str("duty", what).Msg("maintenance failed; trying again")
		}
		_ = retry.Sleep(ctx, 4*time.Since(began)) // the loop looks at ctx
	}
}

// dropConnections drops the connections that no definition and no lease names.
// Definitions are read first and leases then: a request writes its record before it
// reads the definition for the last time.
func (c *Consumer) dropConnections(ctx context.Context) error {
	return c.components.connections.Drop(ctx, func(ctx context.Context) (func(string) bool, error) {
		defined, err := c.components.secrets.Connections(ctx)
		if err != nil {
			return nil, err
		}
		used, err := c.components.leases.UsedConnections(ctx)
		return func(name string) bool { return defined(name) || used(name) }, err
	}, func(ctx context.Context, name string) bool {
		last := c.components.sweeper.One(ctx, name)
		for _, o := range last.Orphans {
			if !o.Removed {
				return false
			}
		}
		return last.Error == ""
	})
}

// rareFactor is how much rarer the rarer duties of the maintenance loop are.
const rareFactor = 30

// maintainRarely is the wait between two rounds of the rarer duties.
func (c *Consumer) maintainRarely() time.Duration { return rareFactor * c.cfg.MaintainEvery }
