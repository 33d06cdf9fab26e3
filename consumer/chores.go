package consumer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
)

// chores begins what goes on without a message: deletions and key rotations that
// somebody has begun are finished, and connections dropped that nothing names any
// more. Each replica does; the bucket's compare-and-set keeps them apart. A rotation
// may wait for AWS for as long as one try at it takes, and holds up nothing else.
func (c *Consumer) chores() {
	c.background.Go(c.lookAfterStreams)
	c.background.Go(c.lookAfterReserve)
	c.background.Go(func() { c.again(c.cfg.ChoresEvery, c.finishDeletions) })
	c.background.Go(func() { c.again(c.cfg.ChoresEvery, func(ctx context.Context) { c.tellOmitted(ctx, false) }) })
	c.background.Go(func() { c.again(choresRare*c.cfg.ChoresEvery, c.markEvents) })
	c.background.Go(func() { c.again(choresRare*c.cfg.ChoresEvery, c.dropConnections) })
	c.background.Go(func() { c.again(choresRare*c.cfg.ChoresEvery, c.finishRotations) })
	c.background.Go(func() { c.again(choresRare*c.cfg.ChoresEvery, c.sweepConnections) })
	c.background.Go(func() { c.again(choresRare*c.cfg.ChoresEvery, c.watchForRestore) })
}

// again does a chore again and again for as long as the consumer takes new work.
func (c *Consumer) again(every time.Duration, chore func(context.Context)) {
	ctx := c.following
	for pause(ctx, every) == nil {
		began := time.Now()
		chore(ctx)
		// A deletion of very many leases lists them each time.
		_ = pause(ctx, 4*time.Since(began)) // ctx is looked at next
	}
}

// choresRare is how much rarer the rarer ones are done.
const choresRare = 30

func (c *Consumer) watchForRestore(ctx context.Context) {
	if err := c.lookForRestore(ctx, false); err != nil && ctx.Err() == nil {
		c.log.Warn().Err(err).Msg("whether the lease bucket was restored could not be told; trying again")
	}
}

func (c *Consumer) finishDeletions(ctx context.Context) {
	for _, name := range c.secrets.beingDeleted() {
		if _, err := c.goOnDeleting(ctx, messages.SecretRequest{Name: name}); err != nil && ctx.Err() == nil {
			c.log.Warn().Err(err).Str("secret", name).Msg("a deletion could not go on; trying again")
		}
	}
}

func (c *Consumer) finishRotations(ctx context.Context) {
	names, err := c.connections.unfinished(ctx)
	for _, name := range names {
		c.log.Warn().Str("connection", name).Msg("a key's rotation was not finished; going on with it")
		err = errors.Join(err, c.connections.rotate(ctx, name, c.cfg))
	}
	if err != nil && ctx.Err() == nil {
		c.log.Error().Err(err).Msg("a key's rotation could not be finished; trying again")
	}
}

// dropConnections drops the connections that no definition and no lease names. A
// definition that is being put has just renewed its connection's KeptAt; the
// deletion is by compare-and-set on what was read before. A request writes its record
// before it looks at the definition for the last time, so definitions are read first
// here and leases then. What can't be read may name any connection.
func (c *Consumer) dropConnections(ctx context.Context) {
	err := c.connections.drop(ctx, func() (func(string) bool, error) {
		infos, err := c.secrets.all(ctx)
		if err != nil {
			return nil, err
		}
		defined := map[string]bool{}
		for _, i := range infos {
			if i.Definition.AWS.Region == "" {
				return func(string) bool { return true }, nil // it can't be read: it may name any
			}
			defined[provider.ConnectionOf(i.Definition, c.cfg.ProjectID).Name] = true
		}
		used, err := c.leases.usedConnections(ctx)
		return func(name string) bool { return defined[name] || used(name) }, err
	}, func(name string) bool {
		last := c.sweep(ctx, name, false)
		return last.Error == "" && !slices.ContainsFunc(last.Orphans, func(o messages.Orphan) bool { return !o.Removed })
	})
	if err != nil && ctx.Err() == nil {
		c.log.Warn().Err(err).Msg("connections that nothing names could not be dropped; trying again")
	}
}

// drop drops the connections that have not been kept nor named for a while, when a
// last sweep of their account has found nothing, or nothing that is left: nobody
// could look there any more. It asks who is named only if there are any such.
func (a *connections) drop(ctx context.Context, ask func() (named func(string) bool, err error), sweep func(name string) bool) error {
	keys, err := a.state.keys(ctx, connectionPrefix+"*")
	if err != nil {
		return err
	}
	old := map[string]storedConnection{}
	for _, key := range keys {
		name := strings.TrimPrefix(key, connectionPrefix)
		c, _, err := a.load(ctx, name)
		if err == nil && c.Rotation == nil && a.now().Sub(c.KeptAt) > unused {
			old[name] = c
		}
	}
	if len(old) == 0 {
		return nil
	}
	named, err := ask()
	if err != nil {
		return err
	}
	for name, c := range old {
		if err := a.dropOne(ctx, name, c, named(name), sweep); err != nil {
			return err
		}
	}
	return nil
}

func (a *connections) dropOne(ctx context.Context, name string, c storedConnection, named bool, sweep func(string) bool) error {
	switch {
	case named && c.UnusedSince.IsZero():
		return nil
	case named:
		return a.change(ctx, name, func(c *storedConnection) bool { c.UnusedSince = time.Time{}; return true })
	case c.UnusedSince.IsZero():
		return a.change(ctx, name, func(c *storedConnection) bool { c.UnusedSince = a.now().UTC(); return true })
	case a.now().Sub(c.UnusedSince) < unused:
		return nil
	}
	_, revision, err := a.load(ctx, name)
	if err != nil || !sweep(name) {
		return err
	}
	err = a.state.remove(ctx, connectionKey(name), revision)
	if errors.Is(err, errConflict) {
		return nil // in use again
	}
	if err == nil {
		a.log.Info().Str("connection", name).Msg("a connection that nothing names any more is dropped")
	}
	return err
}
