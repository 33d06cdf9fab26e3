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

// use leads a lease through its life and checks each promise.
func (r *requester) use(ctx context.Context, l messages.Lease, c messages.Credentials, confirmed bool) {
	r.tally.Add("leases issued", 1)
	r.holds(l.Name, true)
	if !r.works(ctx, l, c) || ctx.Err() != nil {
		return // what is left is ended when all is well
	}
	fate := r.random.IntN(6)
	if l.Secret == world.Role {
		fate = 4 + fate%2 // a session can't be renewed
		r.tally.Add("sessions of a role issued", 1)
	}
	if fate < 3 {
		l = r.renew(ctx, l)
	}
	if fate%2 == 0 {
		r.revoke(ctx, l)
	}
}

// works checks that AWS takes the key, within the time that AWS may need.
func (r *requester) works(ctx context.Context, l messages.Lease, c messages.Credentials) bool {
	ctx = context.WithoutCancel(ctx)
	end := l.ExpiresAt.Add(-2 * world.MaxSkew)
	if most := time.Now().Add(patience); most.Before(end) {
		end = most
	}
	for tries := 0; ; tries++ {
		err := r.identify(ctx, c)
		if err == nil {
			r.tally.Add("keys found to work", 1)
			return true
		}
		if time.Now().After(end) {
			break
		}
		// A key that was taken back does not come to work by waiting.
		if tries > 3 && r.excused(ctx, l) {
			return false
		}
		time.Sleep(300 * time.Millisecond)
	}
	if u, there, err := r.w.Control.User(ctx, l.Username); l.Secret == world.Role || err == nil && there && u.Key == c.AccessKeyID {
		r.tally.Lost("keys that AWS would not look at before their end (throttled, down, late)")
		return false
	}
	if !r.excused(ctx, l) {
		r.tally.Violated(verdict.DeadKey, l.Name, "AWS knows no user %s with the key %s", l.Username, c.AccessKeyID)
	}
	return false
}

// identify asks STS who the key's holder is: it checks the secret, too.
func (r *requester) identify(ctx context.Context, c messages.Credentials) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	_, err := sts.New(sts.Options{
		Region: c.Region, BaseEndpoint: aws.String(r.w.AWSURL), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey.Reveal(), c.SessionToken.Reveal()),
	}).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	return err
}

// excused says whether a lease was taken back by right before its time: nobody
// heard the delivery, as far as the broker could tell. Where nobody answers, it is
// not known, and not held against the broker.
func (r *requester) excused(ctx context.Context, l messages.Lease) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	now, err := r.client(r.nc, r.identity, patience).Get(ctx, l.Name)
	switch {
	case messages.IsCode(err, messages.CodeLeaseNotFound):
		r.tally.Violated(verdict.Wrong, l.Name, "it was delivered, and is not known")
		return true
	case err != nil:
		r.tally.Lost("leases whose end could not be looked up")
		return true
	case now.Reason == messages.ReasonUndelivered, r.wasUndelivered(ctx, l):
		r.tally.Lost("leases taken back as undelivered, though the key had come")
		r.holds(l.Name, false)
		return true
	case now.Reason == messages.ReasonOperator && r.tally.WasOrdered(l.Name), now.Reason == messages.ReasonSecretDeleted && l.Secret == world.Brief:
		r.tally.Add("leases that an operator ended under their holders", 1)
		r.holds(l.Name, false)
		return true
	case now.AccessKeyID != "" && now.AccessKeyID != l.AccessKeyID:
		r.tally.Violated(verdict.TwoKeys, l.Name, "it was delivered with the key %s, and has %s", l.AccessKeyID, now.AccessKeyID)
		return true
	}
	return !now.ExpiresAt.After(time.Now().Add(2 * world.MaxSkew))
}

// wasUndelivered asks the events: a repeated request may have begun the lease anew
// since.
func (r *requester) wasUndelivered(ctx context.Context, l messages.Lease) bool {
	f := client.EventFilter{Identity: l.Identity, Secret: l.Secret, ID: l.ID, Types: []messages.EventType{messages.EventUndelivered}}
	for _, err := range client.Events(ctx, r.w.JS, messages.Namespace{}, f) {
		return err == nil
	}
	return false
}

// renew moves the end, and checks that the key works past the old one.
func (r *requester) renew(ctx context.Context, l messages.Lease) messages.Lease {
	once, cancel := patient(ctx)
	defer cancel()
	ttl := messages.Duration(time.Duration(10+r.random.IntN(r.spread)) * time.Second)
	now, err := r.client(r.nc, r.identity, patience).Renew(once, l.Name, messages.RenewRequest{TTL: ttl, Clamp: true})
	switch {
	case messages.IsCode(err, messages.CodeLeaseNotFound):
		r.tally.Violated(verdict.Wrong, l.Name, "it was delivered, and is not known when it is renewed")
		return l
	case messages.IsCode(err, messages.CodeLeaseEnded):
		r.tally.Add("renewals that came too late", 1)
		if time.Now().Before(l.ExpiresAt.Add(-2*world.MaxSkew)) && !r.excused(context.WithoutCancel(ctx), l) {
			r.tally.Violated(verdict.Early, l.Name, "it can't be renewed at %s, and ends at %s: %s", time.Now().UTC(), l.ExpiresAt, err)
		}
		return l
	case err != nil:
		r.tally.Lost("renewals without an answer, or refused for a while")
		return l
	case now.ExpiresAt.Before(l.ExpiresAt):
		r.tally.Violated(verdict.NotRenewed, l.Name, "the end moved from %s back to %s", l.ExpiresAt, now.ExpiresAt)
		return now
	}
	r.tally.Add("leases renewed", 1)
	if now.ExpiresAt.Sub(l.ExpiresAt) < 3*world.MaxSkew || r.random.IntN(2) == 0 {
		return now
	}
	if retry.Sleep(ctx, time.Until(l.ExpiresAt.Add(world.MaxSkew))) != nil {
		return now
	}
	r.outlived(context.WithoutCancel(ctx), l, now)
	return now
}

// outlived checks that a renewed key is good after its old end.
func (r *requester) outlived(ctx context.Context, old, now messages.Lease) {
	for tries := 0; ; tries++ {
		u, there, err := r.w.Control.User(ctx, now.Username)
		if err != nil || time.Now().After(now.ExpiresAt.Add(-2*world.MaxSkew)) {
			return
		}
		if there && u.Allowed {
			r.tally.Add("renewed keys found to work past their old end", 1)
			return
		}
		if tries == 3 {
			if !r.excused(ctx, now) {
				r.tally.Violated(verdict.NotRenewed, now.Name, "renewed from %s to %s, and AWS refuses the key (user there: %v)", old.ExpiresAt, now.ExpiresAt, there)
			}
			return
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// revoke ends a lease, and checks that its user is gone.
func (r *requester) revoke(ctx context.Context, l messages.Lease) {
	once, cancel := patient(ctx)
	defer cancel()
	_, err := r.client(r.nc, r.identity, patience).Revoke(once, l.Name, "done")
	switch {
	case messages.IsCode(err, messages.CodeLeaseNotFound):
		r.tally.Violated(verdict.Wrong, l.Name, "it was delivered, and is not known when it is revoked")
	case isAnswer(err):
		r.tally.Add("revocations that AWS or NATS put off", 1)
	case err != nil:
		r.tally.Lost("revocations without an answer, repeated at the end")
		if name, err := messages.ParseLeaseName(l.Name); err == nil {
			r.later(func(ctx context.Context) { r.revokeLast(ctx, name) })
		}
	default:
		r.tally.Add("leases revoked", 1)
		r.holds(l.Name, false)
		if u, there, err := r.w.Control.User(context.WithoutCancel(ctx), l.Username); err == nil && there && u.Lease == l.Name && !r.tally.WasGivenUp(l.Name) {
			r.tally.Violated(verdict.NotRevoked, l.Name, "the answer was revoked, and AWS has the user %s with the key %q", u.Name, u.Key)
		}
	}
}
