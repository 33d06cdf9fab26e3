package admin

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/lessorhq/lessor/consumer/internal/listing"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// leaseCommand is the decoder of a command about leases.
func leaseCommand(v messages.AdminVerb) func([]byte) (messages.LeaseCommand, error) {
	return func(body []byte) (messages.LeaseCommand, error) { return messages.DecodeLeaseCommand(v, body) }
}

// maxUnreadable is how many unreadable records an answer names: with the longest keys
// they have room beside a page.
const maxUnreadable = 50

// listLeases answers with a page of the leases of all identities. The first page also
// names the records that can't be read.
func (s *Service) listLeases(ctx context.Context, q messages.LeaseQuery) (messages.Reply, error) {
	query := listing.Query{ListRequest: q.ListRequest, Filter: store.Filter(q.Identity, q.Secret)}
	if q.Identity == "" && q.Secret == "" {
		query.Filter = ">" // includes keys that are no lease names
	}
	if q.Failing {
		query.Matches = record.Record.Failing
	}
	var unreadable []messages.UnreadableRecord
	query.Unreadable = func(err error) {
		if u := (*store.Unreadable)(nil); errors.As(err, &u) {
			unreadable = append(unreadable, messages.UnreadableRecord{Key: u.Key, Revision: u.Revision, Why: u.Err.Error()})
		}
	}
	reply, err := listing.Page(ctx, s.cfg.Leases, query)
	if err == nil && q.After == "" {
		slices.SortFunc(unreadable, func(a, b messages.UnreadableRecord) int { return strings.Compare(a.Key, b.Key) })
		reply.Unreadable = unreadable[:min(len(unreadable), maxUnreadable)]
	}
	return reply, err
}

// retryLeases has the teardown of leases whose last one failed tried again now.
func (s *Service) retryLeases(ctx context.Context, o messages.LeaseCommand) (messages.Reply, error) {
	return s.revokeAll(ctx, o, record.Record.Failing)
}

// revokeLeases revokes leases. With force it gives up one that could not be revoked.
func (s *Service) revokeLeases(ctx context.Context, o messages.LeaseCommand) (messages.Reply, error) {
	if o.Force {
		return s.giveUp(ctx, o)
	}
	return s.revokeAll(ctx, o, func(r record.Record) bool { return !r.State.Ended() && !r.SessionDenied() })
}

// revokeAll publishes a revocation for each lease that a command names and that fits.
func (s *Service) revokeAll(ctx context.Context, o messages.LeaseCommand, fits func(record.Record) bool) (messages.Reply, error) {
	names, err := s.named(ctx, o, fits)
	if err != nil {
		return messages.Reply{}, err
	}
	if len(names) == 0 && o.Lease != "" {
		return messages.Reply{}, messages.Errorf(messages.CodeLeaseNotFound, "there is no such lease as %s, or nothing to do about it", o.Lease)
	}
	for _, name := range names {
		// After an error some are published: the command may be repeated, and a lease that
		// is in teardown already is torn down once.
		if err := s.cfg.Revoke(ctx, name, messages.ReasonOperator, o.Reason, true); err != nil {
			return messages.Reply{}, err
		}
	}
	s.cfg.Log.Info().Int("leases", len(names)).Str("lease", o.Lease).Str("identity", o.Identity).Str("secret", o.Secret).Msg("an operator's command publishes revocations")
	return messages.Reply{Kind: messages.KindAccepted, Accepted: &messages.Accepted{Leases: len(names)}}, nil
}

// named returns the leases that a command names and that fit. If it names one lease
// whose record can't be read, that is an error. Of several, those that can be read are
// returned: the list of leases names the others.
func (s *Service) named(ctx context.Context, o messages.LeaseCommand, fits func(record.Record) bool) ([]messages.LeaseName, error) {
	filter := o.Lease
	if filter == "" {
		filter = store.Filter(o.Identity, o.Secret)
	}
	var names []messages.LeaseName
	var unreadable error
	err := s.cfg.Leases.VisitLive(ctx, filter, func(_ string, e store.Entry, err error) {
		if err != nil {
			unreadable = err
		} else if fits(e.Record) {
			names = append(names, e.Name())
		}
	})
	if err == nil && o.Lease != "" {
		err = unreadable
	}
	return names, err
}

// giveUp ends the record of a lease that could not be revoked. Its user may be left in
// AWS: it has the installation's tag and no lease that knows it, so the sweep finds it.
func (s *Service) giveUp(ctx context.Context, o messages.LeaseCommand) (messages.Reply, error) {
	name, err := messages.ParseLeaseName(o.Lease)
	if err != nil {
		return messages.Reply{}, err
	}
	lease, err := s.cfg.GiveUp(ctx, name, o.Reason)
	if err != nil {
		return messages.Reply{}, err
	}
	return messages.Reply{Kind: messages.KindRevoked, Lease: &lease}, nil
}
