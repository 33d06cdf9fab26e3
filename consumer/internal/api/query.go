package api

import (
	"context"
	"errors"

	"github.com/lessorhq/lessor/consumer/internal/listing"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
)

// get answers with one lease of an identity.
func (s *Service) get(ctx context.Context, r apiRequest, _ struct{}) (messages.Reply, error) {
	e, err := s.load(ctx, r.lease())
	if err != nil {
		return messages.Reply{}, err
	}
	return messages.Reply{Kind: messages.KindLease, Lease: e.Lease()}, nil
}

// load reads a lease's record. It returns an error of the code
// [messages.CodeLeaseNotFound] if there is none.
func (s *Service) load(ctx context.Context, name messages.LeaseName) (store.Entry, error) {
	e, err := s.cfg.Leases.Load(ctx, name)
	if errors.Is(err, bucket.ErrNotFound) {
		return e, messages.Errorf(messages.CodeLeaseNotFound, "there is no lease %s", name)
	}
	return e, err
}

// list answers with a page of an identity's leases. Records that can't be read are left
// out: the operator's list has them.
func (s *Service) list(ctx context.Context, r apiRequest, q messages.ListRequest) (messages.Reply, error) {
	return listing.Page(ctx, s.cfg.Leases, listing.Query{ListRequest: q, Filter: store.Filter(r.tokens[0], q.Secret)})
}
