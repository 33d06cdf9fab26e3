package lease

import (
	"context"
	"time"

	"github.com/lessorhq/lessor/consumer/internal/connection"
	"github.com/lessorhq/lessor/consumer/internal/secrets"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

// DryRuns tries definitions out at AWS: it makes each call that a lease may need.
// What it makes there has a lease record of [DryRunIdentity], so that it is deleted
// whatever happens to this broker.
type DryRuns struct {
	Settings
	leases   *store.Leases
	accounts *connection.Registry
	provider provider.Provider
	teardown *Teardown
}

// dryRunTimeout is how long the calls of a dry run may take.
const dryRunTimeout = 50 * time.Second

// Run tries a definition out. What does not work is in the result; an error means
// that the dry run could not be made.
func (d *DryRuns) Run(ctx context.Context, def messages.DynamicSecret) (messages.SecretCheck, error) {
	result := messages.SecretCheck{Name: def.Name, Notes: d.provider.Notes(def), Calls: []messages.CheckedCall{}}
	conn := provider.ConnectionOf(def, d.ExternalID)
	if err := d.accounts.EnsureReachable(ctx, conn); err != nil {
		result.Connection.Name = conn.Name
		result.Error = OperatorError(err).Message
		d.Log.Warn().Err(err).Str("secret", def.Name).Msg("a dry run could not connect")
		return result, nil
	}
	var err error
	if err = d.accounts.AddPath(ctx, conn.Name, def.AWS.Path); err != nil {
		return result, err
	}
	if result.Connection, err = d.accounts.Info(ctx, conn.Name); err != nil {
		return result, err
	}
	e, err := d.begin(ctx, def, conn)
	if err != nil {
		return result, err
	}
	run := d.call(ctx, e)
	result.OK = true
	for _, c := range run.Calls {
		result.Calls = append(result.Calls, d.checked(def.Name, c))
		if c.Err != nil {
			result.OK = false
		}
		if c.Err != nil && c.Op == "CreateUser" {
			result.Error = "what needs a user was not tried: there was none"
		}
	}
	left, err := d.end(ctx, e, run.Left)
	if err != nil {
		return result, err
	}
	if left != "" {
		result.OK = false
		result.Error = "what was made for the check, " + e.User.Name + ", could not be removed yet, and is tried again until it is: " + left
	}
	return result, nil
}

// checked is a call of a dry run as operators see it.
func (d *DryRuns) checked(secret string, c provider.DryRunCall) messages.CheckedCall {
	checked := messages.CheckedCall{Call: c.Op, On: c.On, OK: c.Err == nil}
	if c.Err != nil {
		checked.Error, checked.Action, checked.Resource = c.Err.ForOperators().Message, c.Err.Action, c.Err.Resource
		d.Log.Warn().Err(c.Err).Str("secret", secret).Str("call", c.Op).Str("on", c.On).Msg("a call of a dry run failed")
	}
	return checked
}

// begin stores the record of a dry run.
func (d *DryRuns) begin(ctx context.Context, def messages.DynamicSecret, conn provider.Connection) (store.Entry, error) {
	id, err := store.RandomToken(d.Rand)
	if err != nil {
		return store.Entry{}, err
	}
	name := messages.LeaseName{Identity: DryRunIdentity, Secret: def.Name, ID: id}
	username, err := secrets.Compile(def).Username(name, d.Now(), d.Rand)
	if err != nil {
		return store.Entry{}, err
	}
	timing := d.Timing
	timing.Provision = 2 * dryRunTimeout
	plan := record.Plan{
		Name: name, Connection: conn.Name, Region: def.AWS.Region, User: userOf(def, username),
		TTL: def.DefaultTTL, DefaultTTL: def.DefaultTTL, MaxTTL: def.MaxTTL,
	}
	return d.leases.Save(ctx, record.New(plan, d.Now(), timing), 0)
}

func (d *DryRuns) call(ctx context.Context, e store.Entry) provider.DryRun {
	ctx, cancel := context.WithTimeout(ctx, dryRunTimeout)
	defer cancel()
	account, err := d.accounts.Reach(ctx, e.Connection)
	if err != nil {
		return provider.DryRun{Calls: []provider.DryRunCall{{Op: "Connect", Err: provider.AsError(err)}}, Left: provider.LeftNothing}
	}
	creation := d.creation(e, stillCurrent(d.leases, e))
	creation.For = e.TTL.Std()
	return account.DryRun(ctx, creation)
}

// end ends the record of a dry run. It returns why something is left, if it is.
func (d *DryRuns) end(ctx context.Context, e store.Entry, left provider.Left) (string, error) {
	next, err := e.End(messages.ReasonChecked, "", d.Now(), d.Timing)
	if err != nil {
		return "", err
	}
	if left == provider.LeftNothing {
		if next, err = next.Ended(d.Now()); err != nil {
			return "", err
		}
		after, err := d.leases.Save(ctx, next, e.Revision)
		if err != nil {
			return "", err
		}
		return "", d.teardown.events.EmitEnded(ctx, after.Record)
	}
	ending, err := d.leases.Save(ctx, next, e.Revision)
	if err != nil {
		return "", err
	}
	log := d.Log.With().Str("lease", e.Name().String()).Logger()
	after, err := d.teardown.run(ctx, log, ending, attempt{ownerKnown: left == provider.LeftUser})
	return after.TeardownError, err
}
