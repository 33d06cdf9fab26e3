package lease

import (
	"context"
	"errors"

	"github.com/lessorhq/lessor/consumer/internal/connection"
	"github.com/lessorhq/lessor/consumer/internal/secrets"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
)

// planner works out leases from requests and definitions.
type planner struct {
	Settings
	accounts *connection.Registry
	limits   Limits
}

// plan returns the lease that a request asks for. It counts the request against the
// identity's rate, makes sure that the connection is stored and works, and adds the
// user's path to it for the sweep. An error about the request is a [messages.Error].
func (p *planner) plan(ctx context.Context, req request, def secrets.Compiled) (record.Plan, error) {
	if def.RequireSealed && req.body.XKey == "" {
		return record.Plan{}, messages.Errorf(messages.CodeSealedRequired, "%s gives sealed credentials only: send an xkey", def.Name)
	}
	if def.RequireConfirm && !req.body.Confirm {
		return record.Plan{}, messages.Errorf(messages.CodeConfirmRequired, "%s wants deliveries confirmed: send \"confirm\": true and answer the delivery", def.Name)
	}
	ttl, err := def.ResolveTTL(req.body.TTL, p.MinTTL)
	if err != nil {
		return record.Plan{}, err
	}
	if err := p.limits.Check(def.DynamicSecret, req.name); err != nil {
		return record.Plan{}, err
	}
	if err := p.limits.Admit(def.DynamicSecret, req.name, req.origin.Sequence); err != nil {
		return record.Plan{}, err
	}
	username, err := def.Username(req.name, p.Now(), p.Rand)
	if err != nil {
		return record.Plan{}, err
	}
	conn := provider.ConnectionOf(def.DynamicSecret, p.ExternalID)
	if err := p.accounts.EnsureReachable(ctx, conn); err != nil {
		return record.Plan{}, publicIfFinal(err)
	}
	if err := p.accounts.AddPath(ctx, conn.Name, def.AWS.Path); err != nil {
		return record.Plan{}, err
	}
	return record.Plan{
		Name: req.name, Origin: req.origin, Request: req.body, Connection: conn.Name, Region: def.AWS.Region,
		User: userOf(def.DynamicSecret, username), TTL: ttl, DefaultTTL: def.DefaultTTL, MaxTTL: def.MaxTTL,
	}, nil
}

// publicIfFinal makes an error of the provider one for the requester if it does not
// pass by itself: that AWS refuses the broker's credentials is told at once.
func publicIfFinal(err error) error {
	var e *provider.Error
	if errors.As(err, &e) && (e.Kind == provider.Denied || e.Kind == provider.Rejected || e.Unauthenticated) {
		return e.Public()
	}
	return err
}

// userOf returns what a definition makes: an IAM user, or a session of a role.
func userOf(d messages.DynamicSecret, name string) record.User {
	return record.User{
		Name: name, Path: d.AWS.Path, Boundary: d.AWS.PermissionsBoundary, Groups: d.AWS.Groups,
		ManagedPolicies: d.AWS.ManagedPolicies, InlinePolicy: []byte(d.AWS.InlinePolicy), Tags: d.Tags, HardExpiry: d.HardExpiry,
		Role: d.AWS.RoleARN, ExternalID: d.AWS.ExternalID, DenyOnRevoke: d.AWS.DenyOnRevoke,
	}
}
