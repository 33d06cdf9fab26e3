package lease

import (
	"context"
	"errors"

	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/bucket"
	"github.com/lessorhq/lessor/messages/retry"
	"github.com/lessorhq/lessor/provider"
)

// lost is for a worker whose attempt has lost the record to another one. What the
// attempt alone has made is taken back beside the workers, for as long as AWS takes;
// accessKeyID is its key, "" if it has none.
func (p *provisioner) lost(ctx context.Context, req request, mine store.Entry, accessKeyID string) queue.Outcome {
	now, err := p.leases.Load(ctx, mine.Name())
	if err != nil && !errors.Is(err, bucket.ErrNotFound) {
		return queue.Retry(err)
	}
	if accessKeyID != "" && now.AccessKeyID == accessKeyID && now.Attempt == mine.Attempt {
		return queue.Retry(errors.New("the record was written although NATS refused the write"))
	}
	req.log.Info().Int("attempt", mine.Attempt).Int("attempt_now", now.Attempt).Str("state", string(now.State)).Msg("another worker has the lease")
	p.lifetime.Go(func() { p.takeBackUntilDone(p.lifetime.Base(), req, mine, accessKeyID) })
	if req.isOwn(now) && !now.State.Ended() && now.State != messages.StateRevoking {
		return queue.NoAck() // another worker has the same message
	}
	return queue.RetryIn(p.RetryMin)
}

// takeBackUntilDone takes back what a lost attempt has made, until AWS has done it or
// refuses it. What belongs to the lease's user is deleted with the user anyway.
func (p *provisioner) takeBackUntilDone(ctx context.Context, req request, mine store.Entry, accessKeyID string) {
	log := req.log.With().Str("username", mine.User.Name).Str("access_key_id", accessKeyID).Int("attempt", mine.Attempt).Logger()
	for wait := (retry.Backoff{Min: p.RetryMin, Max: p.RetryMax}); ; {
		now, err := p.leases.Load(ctx, mine.Name())
		if err == nil || errors.Is(err, bucket.ErrNotFound) {
			err = p.takeBack(ctx, mine, now, accessKeyID)
		}
		if err == nil {
			return
		}
		switch kind := provider.AsError(err).Kind; {
		case kind == provider.Unavailable, kind == provider.NotVisible && p.isYoung(mine.Record):
			log.Info().Err(err).Msg("what a lost attempt has made could not be deleted yet; trying again")
		case hasUser(now, mine):
			log.Warn().Err(err).Msg("what a lost attempt has made could not be deleted; the lease's teardown deletes it")
			return
		default:
			log.Error().Err(err).Msg("what a lost attempt has made could not be deleted, and no lease knows it: the sweep looks for the user")
			return
		}
		if wait.Sleep(ctx) != nil {
			return
		}
	}
}

// hasUser reports whether a lease that has not ended has the user of an attempt.
func hasUser(now, mine store.Entry) bool {
	return !now.State.Ended() && now.User.Name == mine.User.Name
}

// takeBack deletes what a lost attempt has made. If the lease still has the user,
// that is the attempt's key; the Deny is set to the lease's present end, because the
// attempt's calls may have come after the other's. If the lease has another user, it
// is the user: AWS may have carried out the attempt's calls after a teardown found
// nothing to delete. A session that was not delivered needs nothing.
func (p *provisioner) takeBack(ctx context.Context, mine, now store.Entry, accessKeyID string) error {
	if mine.User.IsSession() {
		return nil
	}
	account, err := p.accounts.Reach(ctx, mine.Connection)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, p.Timing.Teardown)
	defer cancel()
	if !hasUser(now, mine) {
		return account.Delete(ctx, provider.Deletion{
			Mode: provider.DeleteUser, User: mine.User, Owner: p.owner(mine.Record), Young: p.isYoung(mine.Record),
		})
	}
	if err := p.sync.run(ctx, mine); err != nil {
		return err
	}
	if accessKeyID == "" {
		return nil
	}
	return account.Delete(ctx, provider.Deletion{
		Mode: provider.DeleteKey, User: mine.User, Owner: p.owner(mine.Record), AccessKeyID: accessKeyID, OwnerKnown: true,
	})
}
