package lease

import (
	"errors"
	"strconv"
	"time"

	"github.com/lessorhq/lessor/messages"
)

// Rate counts the leases that identities have begun in the last minute, at all
// replicas. The scheduler implements it.
type Rate interface {
	// Admit counts one more lease of the lease's identity and secret, unless there
	// have been limit of them already: then it returns how long to wait. The message that asks
	// is known by its stream sequence: handled again it counts once. known is false
	// while the count is not known.
	Admit(lease messages.LeaseName, sequence uint64, limit int) (wait time.Duration, known bool)
	// Room is Admit without counting.
	Room(identity, secret string, limit int) (wait time.Duration, known bool)
}

// Limits are the limits on live leases and on requests. The counts come from the
// scheduler's index of the records, so there is no other state that could be lost or
// disagree. They are a moment old: what all replicas have in progress may come on
// top of a limit.
type Limits struct {
	// Live returns how many live leases of a secret there are, and how many of them
	// are an identity's; known is false while they are being loaded.
	Live func(identity, secret string) (ofIdentity, ofSecret int, known bool)
	Rate Rate
	// MaxRequestsPerMinute is for secrets that define none; 0 is no limit.
	MaxRequestsPerMinute int
}

// limitRetryAfter is the retry-after of an exceeded limit on live leases: the broker
// does not know when one of them will end.
const limitRetryAfter = 10 * time.Second

// errUncounted is for a moment after the start.
var errUncounted = errors.New("the number of live leases is not known yet")

// Check returns an error if there may not be one more live lease.
func (l Limits) Check(d messages.DynamicSecret, name messages.LeaseName) error {
	if d.MaxLeases == 0 && d.MaxLeasesPerIdentity == 0 {
		return nil
	}
	mine, all, known := l.Live(name.Identity, name.Secret)
	switch {
	case !known:
		return errUncounted
	case d.MaxLeasesPerIdentity > 0 && mine >= d.MaxLeasesPerIdentity:
		return messages.Errorf(messages.CodeLimitExceeded, "%s has %d leases of %s, the limit is %d; revoke one, or ask again when one has ended",
			name.Identity, mine, name.Secret, d.MaxLeasesPerIdentity).After(limitRetryAfter)
	case d.MaxLeases > 0 && all >= d.MaxLeases:
		return messages.Errorf(messages.CodeLimitExceeded, "there are %d leases of %s, the limit is %d; ask again when one has ended",
			all, name.Secret, d.MaxLeases).After(limitRetryAfter)
	}
	return nil
}

// Admit counts a request that is about to begin a lease, or returns an error that
// says when there is room.
func (l Limits) Admit(d messages.DynamicSecret, name messages.LeaseName, sequence uint64) error {
	limit := l.perMinute(d)
	if limit == 0 {
		return nil
	}
	wait, known := l.Rate.Admit(name, sequence, limit)
	return rateError(name, limit, wait, known)
}

// WouldRefuse returns an error if a request would be refused for a limit now. It counts
// nothing.
func (l Limits) WouldRefuse(d messages.DynamicSecret, name messages.LeaseName) error {
	if err := l.Check(d, name); err != nil {
		return err
	}
	limit := l.perMinute(d)
	if limit == 0 {
		return nil
	}
	wait, known := l.Rate.Room(name.Identity, name.Secret, limit)
	return rateError(name, limit, wait, known)
}

func (l Limits) perMinute(d messages.DynamicSecret) int {
	if d.MaxRequestsPerMinute > 0 {
		return d.MaxRequestsPerMinute
	}
	return l.MaxRequestsPerMinute
}

func rateError(name messages.LeaseName, limit int, wait time.Duration, known bool) error {
	if !known {
		return errUncounted
	}
	if wait <= 0 {
		return nil
	}
	requests := strconv.Itoa(limit) + " requests"
	if limit == 1 {
		requests = "1 request"
	}
	e := messages.Errorf(messages.CodeRateExceeded, "").After(wait)
	e.Message = "the limit is " + requests + " of " + name.Identity + " for " + name.Secret + " a minute; ask again in " + e.RetryAfter.String()
	return e
}
