package consumer

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/micro"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// adminLeases answers with a page of all identities' leases.
func (c *Consumer) adminLeases(ctx context.Context, r micro.Request) (messages.Reply, error) {
	q, err := messages.DecodeLeaseQuery(r.Data())
	if err != nil {
		return messages.Reply{}, err
	}
	filter := leaseFilter(q.Identity, q.Secret)
	if q.Identity == "" && q.Secret == "" {
		filter = ">" // also what is at keys that are no lease's
	}
	leases := []messages.Lease{}
	var bad []messages.UnreadableRecord
	err = c.leases.listed(q.State)(ctx, filter, func(key string, rec held, err error) {
		var u *unreadable
		if errors.As(err, &u) {
			bad = append(bad, messages.UnreadableRecord{Key: u.key, Revision: u.revision, Why: u.why.Error()})
			return
		}
		if l := rec.Lease(); key > q.After && wanted(l.State, q.State) && (!q.Failing || rec.Failing()) {
			leases = append(leases, *l)
		}
	})
	if err != nil {
		return messages.Reply{}, err
	}
	answer, err := page(leases, q.Limit)
	if q.After == "" { // with the first page
		slices.SortFunc(bad, func(a, b messages.UnreadableRecord) int { return strings.Compare(a.Key, b.Key) })
		answer.Unreadable = bad[:min(len(bad), maxUnreadable)]
	}
	return answer, err
}

// maxUnreadable is how many records that can't be read an answer tells of: with the
// longest keys they have room beside a page.
const maxUnreadable = 50

// leaseFilter is the filter for the leases of an identity and a secret; "" is any.
func leaseFilter(identity, secret string) string {
	any := func(token string) string {
		if token == "" {
			return "*"
		}
		return token
	}
	return any(identity) + "." + any(secret) + ".*"
}

// adminRetry has leases tried again now that could not be revoked.
func (c *Consumer) adminRetry(ctx context.Context, r micro.Request) (messages.Reply, error) {
	o, err := messages.DecodeLeaseCommand(messages.AdminLeaseRetry, r.Data())
	if err != nil {
		return messages.Reply{}, err
	}
	return c.orderAll(ctx, o, record.Record.Failing)
}

// adminRevoke has leases end.
func (c *Consumer) adminRevoke(ctx context.Context, r micro.Request) (messages.Reply, error) {
	o, err := messages.DecodeLeaseCommand(messages.AdminLeaseRevoke, r.Data())
	if err != nil {
		return messages.Reply{}, err
	}
	if o.Force {
		return c.giveUpOn(ctx, o)
	}
	return c.orderAll(ctx, o, func(rec record.Record) bool { return !rec.State.Ended() && !rec.SessionDenied() })
}

// orderAll has all leases end that an order means.
func (c *Consumer) orderAll(ctx context.Context, o messages.LeaseCommand, meant func(record.Record) bool) (messages.Reply, error) {
	filter := o.Lease
	if filter == "" {
		filter = leaseFilter(o.Identity, o.Secret)
	}
	var names []messages.LeaseName
	var unread error
	err := c.leases.each(ctx, filter, func(_ string, rec held, err error) {
		if err != nil {
			unread = err
		} else if meant(rec.Record) {
			names = append(names, rec.Name())
		}
	})
	if o.Lease != "" && err == nil {
		err = unread // of several, those that can be read end; a list tells of the others
	}
	if err != nil {
		return messages.Reply{}, err
	}
	if len(names) == 0 && o.Lease != "" {
		return messages.Reply{}, messages.Errorf(messages.CodeLeaseNotFound, "there is no such lease as %s, or nothing to do about it", o.Lease)
	}
	for _, name := range names {
		if err := c.order(ctx, name, messages.ReasonOperator, o.Reason, true); err != nil {
			return messages.Reply{}, err
		}
	}
	c.log.Info().Int("leases", len(names)).Str("lease", o.Lease).Str("identity", o.Identity).Str("secret", o.Secret).Msg("an operator ends leases")
	return messages.Reply{Kind: messages.KindAccepted, Accepted: &messages.Accepted{Leases: len(names)}}, nil
}

// giveUpOn drops a lease that could not be revoked. Its user may be left in AWS: it
// has the installation's tag, and no lease that knows it, so the sweep hunts it.
func (c *Consumer) giveUpOn(ctx context.Context, o messages.LeaseCommand) (messages.Reply, error) {
	name, err := messages.ParseLeaseName(o.Lease)
	if err != nil {
		return messages.Reply{}, err
	}
	rec, err := c.leases.load(ctx, name)
	if errors.Is(err, errNotFound) {
		return messages.Reply{}, messages.Errorf(messages.CodeLeaseNotFound, "there is no lease %s", name)
	}
	if err != nil {
		return messages.Reply{}, err
	}
	if !rec.Failing() {
		return messages.Reply{}, messages.Errorf(messages.CodeInvalidRequest, "force is for a lease that could not be revoked, and this one is %s; revoke it first", rec.State)
	}
	given := rec.Record
	given.Note = strings.TrimSpace("given up by an operator; its user may be left, and is looked for. " + o.Reason)
	next, err := given.Ended(c.cfg.Now())
	if err != nil {
		return messages.Reply{}, err
	}
	after, err := c.leases.save(ctx, next, rec.revision)
	if errors.Is(err, errConflict) {
		return messages.Reply{}, messages.Errorf(messages.CodeUnavailable, "the lease is being worked on; look at it, and try again").Because(err)
	}
	if err != nil {
		return messages.Reply{}, err
	}
	c.log.Warn().Str("lease", name.String()).Str("username", rec.User.Name).Str("error", rec.TeardownError).Msg("an operator gives up a lease that could not be revoked; the sweep looks for its user")
	return messages.Reply{Kind: messages.KindRevoked, Lease: after.Lease()}, c.tellEnded(ctx, after)
}

// page sorts leases by their names and makes a page of them.
func page(leases []messages.Lease, limit int) (messages.Reply, error) {
	slices.SortFunc(leases, func(a, b messages.Lease) int { return strings.Compare(a.Name, b.Name) })
	n, err := fit(leases, limit)
	if err != nil {
		return messages.Reply{}, err
	}
	answer := messages.Reply{Kind: messages.KindLeases, Leases: leases[:n]}
	if n < len(leases) {
		answer.Next = leases[n-1].Name
	}
	return answer, nil
}
