package consumer

import (
	"context"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

// checkIdentity is whose the leases are that only try a definition out.
const checkIdentity = "_check"

// checkTime is how long trying a definition out may take.
const checkTime = 50 * time.Second

// check tries a definition out at AWS. What it makes there has a record like any
// lease, so that it goes whatever happens to this broker.
func (c *Consumer) check(ctx context.Context, d messages.DynamicSecret) (messages.SecretCheck, error) {
	result := messages.SecretCheck{Name: d.Name, Notes: c.secrets.provider.Notes(d), Calls: []messages.CheckedCall{}}
	conn := provider.ConnectionOf(d, c.cfg.ProjectID)
	if err := c.connections.keep(ctx, conn); err != nil {
		result.Connection.Name = conn.Name
		result.Error = adminError(err).Message
		c.log.Warn().Err(err).Str("secret", d.Name).Msg("a check could not connect")
		return result, nil
	}
	var err error
	if err = c.connections.use(ctx, conn.Name, d.AWS.Path); err != nil {
		return result, err
	}
	if result.Connection, err = c.connections.info(ctx, conn.Name); err != nil {
		return result, err
	}
	rec, err := c.beginCheck(ctx, d, conn)
	if err != nil {
		return result, err
	}
	trial := c.try(ctx, rec)
	result.OK = true
	for _, call := range trial.Calls {
		checked := messages.CheckedCall{Call: call.Op, On: call.On, OK: call.Err == nil}
		if call.Err != nil {
			result.OK = false
			checked.Error, checked.Action, checked.Resource = call.Err.ForOperators().Message, call.Err.Action, call.Err.Resource
			if call.Op == "CreateUser" {
				result.Error = "what needs a user was not tried: there was none"
			}
			c.log.Warn().Err(call.Err).Str("secret", d.Name).Str("call", call.Op).Str("on", call.On).Msg("a check found what does not work")
		}
		result.Calls = append(result.Calls, checked)
	}
	left, err := c.endCheck(ctx, rec, trial.Left)
	if err != nil {
		return result, err
	}
	if left != "" {
		result.OK = false
		result.Error = "what was made for the check, " + rec.User.Name + ", could not be removed yet, and is tried again until it is: " + left
	}
	return result, nil
}

// beginCheck writes the record of a check.
func (c *Consumer) beginCheck(ctx context.Context, d messages.DynamicSecret, conn provider.Connection) (held, error) {
	id, err := randomToken(c.cfg.Rand)
	if err != nil {
		return held{}, err
	}
	name := messages.LeaseName{Identity: checkIdentity, Secret: d.Name, ID: id}
	username, err := c.username(newRecipe(d, nil), name)
	if err != nil {
		return held{}, err
	}
	timing := c.cfg.Timing
	timing.Provision = 2 * checkTime
	plan := record.Plan{
		Name: name, Connection: conn.Name, Region: d.AWS.Region, User: user(d, username),
		TTL: d.DefaultTTL, DefaultTTL: d.DefaultTTL, MaxTTL: d.MaxTTL,
	}
	return c.leases.save(ctx, record.New(plan, c.cfg.Now(), timing), 0)
}

func (c *Consumer) try(ctx context.Context, rec held) provider.DryRun {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	account, err := c.connections.of(ctx, rec.Record)
	if err != nil {
		return provider.DryRun{Calls: []provider.DryRunCall{{Op: "Connect", Err: provider.AsError(err)}}, Left: provider.LeftNothing}
	}
	return account.DryRun(ctx, provider.Creation{
		User: rec.User, Owner: c.owner(rec.Record), DenyAfter: rec.DenyAfter(), For: rec.TTL.Std(), StillCurrent: c.holds(rec),
	})
}

// endCheck ends the record of a check. It returns why something is left, if it is.
func (c *Consumer) endCheck(ctx context.Context, rec held, left provider.Left) (string, error) {
	next, err := rec.End(messages.ReasonChecked, "", c.cfg.Now(), c.cfg.Timing)
	if err != nil {
		return "", err
	}
	if left == provider.LeftNothing {
		if next, err = next.Ended(c.cfg.Now()); err != nil {
			return "", err
		}
		after, err := c.leases.save(ctx, next, rec.revision)
		if err != nil {
			return "", err
		}
		return "", c.tellEnded(ctx, after)
	}
	ending, err := c.leases.save(ctx, next, rec.revision)
	if err != nil {
		return "", err
	}
	after, err := c.undo(ctx, c.log.With().Str("lease", rec.Name().String()).Logger(), ending, undoing{known: left == provider.LeftUser})
	return after.TeardownError, err
}
