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

// hardBound is how long AWS may accept a key after its lease's end: its times have whole
// seconds.
const hardBound = 2 * time.Second

// Audit compares what AWS has with what lessor's records say.
type Audit struct {
	w       *world.World
	tally   *verdict.Tally
	strikes map[strikes]int // how often in a row a lease looked wrong
	served  atomic.Int64    // for how many nanoseconds there has been a broker that was ready
	overdue map[string]overdue
	events  []byte            // all of them
	users   map[string]string // a user seen, and its key
	secrets []string          // every secret key that AWS has issued
}

// strikes are what is counted for one lease.
type strikes struct {
	kind  verdict.Kind
	lease string
}

// overdue is a lease that has outlived its end.
type overdue struct {
	end   time.Time
	since time.Duration // the auditor's served when that was seen first
}

func New(w *world.World, t *verdict.Tally) *Audit {
	return &Audit{w: w, tally: t, strikes: map[strikes]int{}, overdue: map[string]overdue{}, users: map[string]string{}}
}

// Run looks once a second.
func (a *Audit) Run(ctx context.Context) {
	var beside sync.WaitGroup
	beside.Go(func() { a.attend(ctx) })
	defer beside.Wait()
	for a.look(ctx); retry.Sleep(ctx, time.Second) == nil; {
		a.look(ctx)
	}
}

// attend measures for how long there is a broker that can work.
func (a *Audit) attend(ctx context.Context) {
	for last, ready := time.Now(), false; retry.Sleep(ctx, 300*time.Millisecond) == nil; {
		is := a.w.AnyReady(ctx)
		now := time.Now()
		if ready && is {
			a.served.Add(int64(now.Sub(last)))
		}
		last, ready = now, is
	}
}

func (a *Audit) look(ctx context.Context) {
	users, err := a.w.Control.Users(ctx)
	if err != nil {
		return
	}
	a.judgeAll(users)
	for _, u := range users {
		// Nobody asks for less.
		if time.Since(u.Created) < 5*time.Second {
			continue
		}
		asked := time.Now()
		if rec, err := a.record(ctx, u.Lease); err == nil {
			a.judge(u, rec, asked, func() bool { return a.renewing(ctx, u.Lease) })
		}
	}
}

// judgeAll looks at all users of the account at once.
func (a *Audit) judgeAll(users []account.User) {
	a.tally.Most("users alive at once", len(users))
	of, twice := map[string]string{}, map[string]bool{}
	for _, u := range users {
		if u.Key != "" {
			a.users[u.Name] = u.Key
		}
		// What an operator has given up is the sweep's; the lease may begin anew.
		if other, ok := of[u.Lease]; ok && !a.tally.WasGivenUp(u.Lease) {
			twice[u.Lease] = true
			a.strike(verdict.TwoUsers, u.Lease, "AWS has %s and %s", other, u.Name)
		}
		of[u.Lease] = u.Name
	}
	for lease := range of {
		if !twice[lease] {
			delete(a.strikes, strikes{verdict.TwoUsers, lease})
		}
	}
}

// judge compares a user with its lease's record, read after it. Renewing says whether
// a renewal of the lease waits.
func (a *Audit) judge(u account.User, rec record.Record, asked time.Time, renewing func() bool) {
	if rec.IssuedAt.IsZero() || rec.User.Name != u.Name {
		return
	}
	late := asked.Sub(rec.ExpiresAt)
	if !a.tally.WasGivenUp(u.Lease) {
		a.tally.Most("longest time (in s) that a user outlived its lease", int(late.Seconds()))
		bound := verdict.CleanupBound
		if u.Key != "" {
			bound = verdict.LateBound
			a.tally.Most("longest time (in s) that a key outlived its lease", int(late.Seconds()))
		}
		if waits := a.outlives(u.Lease, rec.ExpiresAt, late); waits > bound {
			a.tally.Violated(verdict.Late, u.Lease, "it ended at %s; %s, due %s, %d tries to undo it: %s", rec.ExpiresAt, rec.State, rec.Due, rec.TeardownTries, rec.TeardownError)
		}
	}
	// A renewal that was stored in time counts, and moves AWS first: the record may
	// be behind for as long as NATS is away.
	if rec.Secret != world.Soft && late > hardBound && u.Allowed && !renewing() {
		a.strike(verdict.Beyond, u.Lease, "it ended at %s, and AWS takes the key %s at %s; %s, renewed %d times", rec.ExpiresAt, u.Key, asked.UTC(), rec.State, rec.Renewals)
	} else {
		delete(a.strikes, strikes{verdict.Beyond, u.Lease})
	}
}

// outlives is for how long of the time since a lease's end somebody was there to do
// something about it.
func (a *Audit) outlives(lease string, end time.Time, late time.Duration) time.Duration {
	was, known := a.overdue[lease]
	if late <= 0 || !known || !was.end.Equal(end) {
		a.overdue[lease] = overdue{end, time.Duration(a.served.Load())}
		return 0
	}
	return time.Duration(a.served.Load()) - was.since
}

// strike holds against a lease what is seen three times in a row: a look is not one
// moment.
func (a *Audit) strike(kind verdict.Kind, lease, format string, args ...any) {
	if a.strikes[strikes{kind, lease}]++; a.strikes[strikes{kind, lease}] == 3 {
		a.tally.Violated(kind, lease, format, args...)
	}
}

// record reads a lease's record, by the leader's word.
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

// renewing says whether a renewal of a lease waits to be handled; also where that
// can't be found out.
func (a *Audit) renewing(ctx context.Context, lease string) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	s, err := a.w.JS.Stream(ctx, messages.Namespace{}.Stream(messages.VerbRenew))
	if err != nil {
		return true
	}
	_, err = s.GetLastMsgForSubject(ctx, "lessor.renew."+lease)
	return !errors.Is(err, jetstream.ErrMsgNotFound)
}
