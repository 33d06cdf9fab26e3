package load

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/world"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
	"github.com/lessorhq/lessor/messages/retry"
)

// use tests the key of a lease, and then renews the lease, revokes it, does both, or lets
// it expire. It checks each guarantee.
func (r *requester) use(ctx context.Context, l messages.Lease, c messages.Credentials) {
	r.tally.Add("leases issued", 1)
	r.leaseStarted(l.Name)
	if !r.testKey(ctx, l, c) || ctx.Err() != nil {
		return // Settle revokes it
	}
	choice := r.random.IntN(6)
	if l.Secret == world.Role {
		choice = 4 + choice%2 // a session can't be renewed
		r.tally.Add("sessions of a role issued", 1)
	}
	if choice < 3 {
		l = r.renew(ctx, l)
	}
	if choice%2 == 0 {
		r.revoke(ctx, l)
	}
}

// testKey reports whether AWS accepts the key. A new key may need some time.
func (r *requester) testKey(ctx context.Context, l messages.Lease, c messages.Credentials) bool {
	ctx = context.WithoutCancel(ctx)
	end := l.ExpiresAt.Add(-2 * world.MaxSkew)
	if limit := time.Now().Add(patience); limit.Before(end) {
		end = limit
	}
	for tries := 0; ; tries++ {
		err := r.callerIdentity(ctx, c)
		if err == nil {
			r.tally.Add("keys found to work", 1)
			return true
		}
		if time.Now().After(end) {
			break
		}
		if tries > 3 && r.excused(ctx, l) { // waiting does not help if the lease was revoked
			return false
		}
		time.Sleep(300 * time.Millisecond)
	}
	if u, exists, err := r.w.Control.User(ctx, l.Username); l.Secret == world.Role || err == nil && exists && u.Key == c.AccessKeyID {
		r.tally.Excuse("keys that could not be tested before their expiry (AWS throttled, down or late)")
		return false
	}
	if !r.excused(ctx, l) {
		r.tally.Violated(verdict.DeadKey, l.Name, "AWS has no user %s with the key %s", l.Username, c.AccessKeyID)
	}
	return false
}

// callerIdentity calls GetCallerIdentity with the credentials, which also checks the
// secret key.
func (r *requester) callerIdentity(ctx context.Context, c messages.Credentials) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	_, err := sts.New(sts.Options{
		Region: c.Region, BaseEndpoint: aws.String(r.w.AWSURL), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey.Reveal(), c.SessionToken.Reveal()),
	}).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	return err
}

// excused reports whether there is a good reason why the key of a lease does not work, and
// counts it: the lease was revoked as undelivered, because the broker received no
// confirmation, or by an operator, or it has expired. A lease whose state can't be read is
// excused, too.
func (r *requester) excused(ctx context.Context, l messages.Lease) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	now, err := r.client(r.nc, r.identity, patience).Get(ctx, l.Name)
	switch {
	case messages.IsCode(err, messages.CodeLeaseNotFound):
		r.tally.Violated(verdict.WrongAnswer, l.Name, "the lease was delivered and is not found")
		return true
	case err != nil:
		r.tally.Excuse("leases whose state could not be read")
		return true
	case now.Reason == messages.ReasonUndelivered, r.wasUndelivered(ctx, l):
		r.tally.Excuse("leases revoked as undelivered although the key had arrived")
		r.leaseEnded(l.Name)
		return true
	case now.Reason == messages.ReasonOperator && r.tally.EndedByOperator(l.Name), now.Reason == messages.ReasonSecretDeleted && l.Secret == world.Brief:
		r.tally.Add("leases in use that an operator revoked", 1)
		r.leaseEnded(l.Name)
		return true
	case now.AccessKeyID != "" && now.AccessKeyID != l.AccessKeyID:
		r.tally.Violated(verdict.TwoKeys, l.Name, "the lease was delivered with the key %s and has %s", l.AccessKeyID, now.AccessKeyID)
		return true
	}
	return !now.ExpiresAt.After(time.Now().Add(2 * world.MaxSkew))
}

// wasUndelivered reports whether the lease has an undelivered event. The lease itself may
// not show it, because a repeated request can start it again.
func (r *requester) wasUndelivered(ctx context.Context, l messages.Lease) bool {
	f := client.EventFilter{Identity: l.Identity, Secret: l.Secret, ID: l.ID, Types: []messages.EventType{messages.EventUndelivered}}
	for _, err := range client.Events(ctx, r.w.JS, messages.Namespace{}, f) {
		return err == nil
	}
	return false
}

// renew renews a lease. Half of the renewed leases are tested again after the old expiry.
func (r *requester) renew(ctx context.Context, l messages.Lease) messages.Lease {
	once, cancel := withPatience(ctx)
	defer cancel()
	ttl := messages.Duration(time.Duration(10+r.random.IntN(r.ttlSpread)) * time.Second)
	now, err := r.client(r.nc, r.identity, patience).Renew(once, l.Name, messages.RenewRequest{TTL: ttl, Clamp: true})
	switch {
	case messages.IsCode(err, messages.CodeLeaseNotFound):
		r.tally.Violated(verdict.WrongAnswer, l.Name, "the lease was delivered and is not found by a renewal")
		return l
	case messages.IsCode(err, messages.CodeLeaseEnded):
		r.tally.Add("renewals after the lease had ended", 1)
		if time.Now().Before(l.ExpiresAt.Add(-2*world.MaxSkew)) && !r.excused(context.WithoutCancel(ctx), l) {
			r.tally.Violated(verdict.EarlyEnd, l.Name, "it can't be renewed at %s and expires at %s: %s", time.Now().UTC(), l.ExpiresAt, err)
		}
		return l
	case err != nil:
		r.tally.Excuse("renewals without an answer or with a temporary error")
		return l
	case now.ExpiresAt.Before(l.ExpiresAt):
		r.tally.Violated(verdict.NotRenewed, l.Name, "a renewal moved the expiry from %s back to %s", l.ExpiresAt, now.ExpiresAt)
		return now
	}
	r.tally.Add("leases renewed", 1)
	if now.ExpiresAt.Sub(l.ExpiresAt) < 3*world.MaxSkew || r.random.IntN(2) == 0 {
		return now
	}
	if retry.Sleep(ctx, time.Until(l.ExpiresAt.Add(world.MaxSkew))) != nil {
		return now
	}
	r.testRenewedKey(context.WithoutCancel(ctx), l, now)
	return now
}

// testRenewedKey checks that a renewed key works after its old expiry.
func (r *requester) testRenewedKey(ctx context.Context, old, now messages.Lease) {
	for tries := 0; ; tries++ {
		u, exists, err := r.w.Control.User(ctx, now.Username)
		if err != nil || time.Now().After(now.ExpiresAt.Add(-2*world.MaxSkew)) {
			return
		}
		if exists && u.Allowed {
			r.tally.Add("renewed keys found to work after their old expiry", 1)
			return
		}
		if tries == 3 {
			if !r.excused(ctx, now) {
				r.tally.Violated(verdict.NotRenewed, now.Name, "renewed from %s to %s, and AWS rejects the key (user exists: %v)", old.ExpiresAt, now.ExpiresAt, exists)
			}
			return
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// revoke revokes a lease. When the broker has answered, the user must not exist.
func (r *requester) revoke(ctx context.Context, l messages.Lease) {
	once, cancel := withPatience(ctx)
	defer cancel()
	_, err := r.client(r.nc, r.identity, patience).Revoke(once, l.Name, "done")
	switch {
	case messages.IsCode(err, messages.CodeLeaseNotFound):
		r.tally.Violated(verdict.WrongAnswer, l.Name, "the lease was delivered and is not found by a revocation")
	case isAnswer(err):
		r.tally.Add("revocations answered with an error", 1)
	case err != nil:
		r.tally.Excuse("revocations without an answer, repeated at the end")
		if name, err := messages.ParseLeaseName(l.Name); err == nil {
			r.repeatAtEnd(func(ctx context.Context) { r.revokeAtEnd(ctx, name) })
		}
	default:
		r.tally.Add("leases revoked", 1)
		r.leaseEnded(l.Name)
		if u, exists, err := r.w.Control.User(context.WithoutCancel(ctx), l.Username); err == nil && exists && u.Lease == l.Name && !r.tally.GivenUp(l.Name) {
			r.tally.Violated(verdict.NotRevoked, l.Name, "the answer was revoked, and AWS has the user %s with the key %q", u.Name, u.Key)
		}
	}
}
