// Package audit compares, during and after a soak test, what AWS has with the lease
// records and the events.
package audit

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/account"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/world"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/messages/retry"
)

// hardBound is how long AWS may accept a key after its lease's expiry. AWS's conditions
// have whole seconds.
const hardBound = 2 * time.Second

// minAge is the age from which a user is compared with its record. No lease is shorter.
const minAge = 5 * time.Second

// Audit compares AWS with the records of the broker. Run and Settle may run at the same
// time; Finish and SearchSecrets must be called after Run has returned.
type Audit struct {
	w          *world.World
	tally      *verdict.Tally
	suspicions map[suspicion]int  // how often in a row
	ready      atomic.Int64       // for how many nanoseconds a broker has been ready
	overdue    map[string]overdue // by lease
	keys       map[string]string  // the access key's ID by user
	secrets    []string           // every secret key that AWS has issued
}

// suspicion is what looks like a violation of one lease.
type suspicion struct {
	kind  verdict.Kind
	lease string
}

// overdue is a lease after its expiry.
type overdue struct {
	expiry time.Time
	ready  time.Duration // the value of Audit.ready when the audit first saw it
}

// New returns an audit of a world.
func New(w *world.World, t *verdict.Tally) *Audit {
	return &Audit{w: w, tally: t, suspicions: map[suspicion]int{}, overdue: map[string]overdue{}, keys: map[string]string{}}
}

// Run compares once a second until the context ends.
func (a *Audit) Run(ctx context.Context) {
	var ready sync.WaitGroup
	ready.Go(func() { a.measureReady(ctx) })
	defer ready.Wait()
	for a.compare(ctx); retry.Sleep(ctx, time.Second) == nil; {
		a.compare(ctx)
	}
}

// measureReady measures for how long a broker is ready.
func (a *Audit) measureReady(ctx context.Context) {
	for last, wasReady := time.Now(), false; retry.Sleep(ctx, 300*time.Millisecond) == nil; {
		isReady := a.w.AnyReady(ctx)
		now := time.Now()
		if wasReady && isReady {
			a.ready.Add(int64(now.Sub(last)))
		}
		last, wasReady = now, isReady
	}
}

// compare compares the users in AWS with their records.
func (a *Audit) compare(ctx context.Context) {
	users, err := a.w.Control.Users(ctx)
	if err != nil {
		return
	}
	a.checkUsers(users)
	for _, u := range users {
		if time.Since(u.Created) < minAge {
			continue
		}
		now := time.Now()
		if rec, err := a.record(ctx, u.Lease); err == nil {
			a.checkUser(u, rec, now, func() bool { return a.renewalPending(ctx, u.Lease) })
		}
	}
}

// checkUsers checks that no lease has two users.
func (a *Audit) checkUsers(users []account.User) {
	a.tally.Max("users at the same time, at most", len(users))
	userOf, doubled := map[string]string{}, map[string]bool{}
	for _, u := range users {
		if u.Key != "" {
			a.keys[u.Name] = u.Key
		}
		// The user of a lease that was given up is left to the sweep, and the lease may be
		// started again.
		if other, ok := userOf[u.Lease]; ok && !a.tally.GivenUp(u.Lease) {
			doubled[u.Lease] = true
			a.suspect(verdict.TwoUsers, u.Lease, "AWS has %s and %s", other, u.Name)
		}
		userOf[u.Lease] = u.Name
	}
	for lease := range userOf {
		if !doubled[lease] {
			delete(a.suspicions, suspicion{verdict.TwoUsers, lease})
		}
	}
}

// checkUser compares a user with its lease's record, which was read after it. Renewing
// reports whether a renewal of the lease is pending.
func (a *Audit) checkUser(u account.User, rec record.Record, now time.Time, renewing func() bool) {
	if rec.IssuedAt.IsZero() || rec.User.Name != u.Name {
		return
	}
	late := now.Sub(rec.ExpiresAt)
	if !a.tally.GivenUp(u.Lease) {
		a.tally.Max("longest time (in s) that a user outlived its lease", int(late.Seconds()))
		bound := verdict.CleanupBound
		if u.Key != "" {
			bound = verdict.LateBound
			a.tally.Max("longest time (in s) that a key outlived its lease", int(late.Seconds()))
		}
		if a.readySinceExpiry(u.Lease, rec.ExpiresAt, late) > bound {
			a.tally.Violated(verdict.LateEnd, u.Lease, "it expired at %s; %s, due %s, %d tries of the teardown: %s", rec.ExpiresAt, rec.State, rec.Due, rec.TeardownTries, rec.TeardownError)
		}
	}
	// A renewal that was stored in time is right. It changes AWS first, so the record may
	// show the old expiry while NATS is down.
	if rec.Secret != world.Soft && late > hardBound && u.Allowed && !renewing() {
		a.suspect(verdict.KeyAfterExpiry, u.Lease, "it expired at %s, and AWS accepts the key %s at %s; %s, renewed %d times", rec.ExpiresAt, u.Key, now.UTC(), rec.State, rec.Renewals)
	} else {
		delete(a.suspicions, suspicion{verdict.KeyAfterExpiry, u.Lease})
	}
}

// readySinceExpiry returns for how long a broker has been ready since the audit first saw
// that the lease has expired.
func (a *Audit) readySinceExpiry(lease string, expiry time.Time, late time.Duration) time.Duration {
	first, known := a.overdue[lease]
	if late <= 0 || !known || !first.expiry.Equal(expiry) {
		a.overdue[lease] = overdue{expiry, time.Duration(a.ready.Load())}
		return 0
	}
	return time.Duration(a.ready.Load()) - first.ready
}

// suspect counts a violation when it is seen three times in a row, because the users and
// the records are not read at the same moment.
func (a *Audit) suspect(kind verdict.Kind, lease, format string, args ...any) {
	if a.suspicions[suspicion{kind, lease}]++; a.suspicions[suspicion{kind, lease}] == 3 {
		a.tally.Violated(kind, lease, format, args...)
	}
}

// record reads a lease's record from the leader of the stream.
func (a *Audit) record(ctx context.Context, lease string) (record.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	bucket := messages.Namespace{}.LeaseBucket()
	s, err := a.w.JS.Stream(ctx, "KV_"+bucket)
	if err != nil {
		return record.Record{}, err
	}
	m, err := s.GetLastMsgForSubject(ctx, "$KV."+bucket+"."+lease)
	if err != nil {
		return record.Record{}, err
	}
	return record.Decode(m.Data)
}

// renewalPending reports whether a renewal of a lease is in its work queue. It returns
// true if that is not known.
func (a *Audit) renewalPending(ctx context.Context, lease string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	s, err := a.w.JS.Stream(ctx, messages.Namespace{}.Stream(messages.VerbRenew))
	if err != nil {
		return true
	}
	_, err = s.GetLastMsgForSubject(ctx, "lessor.renew."+lease)
	return !errors.Is(err, jetstream.ErrMsgNotFound)
}
