package consumer

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
)

// limitPause is what those are told to wait who have met a limit of which nobody knows
// when there will be room.
const limitPause = 10 * time.Second

// checkRequester refuses what can't be an identity, and those that are lessor's own:
// leases and events of theirs are not a requester's.
func checkRequester(identity string) error {
	if identity == checkIdentity || identity == messages.AdminIdentity {
		return messages.Errorf(messages.CodeInvalidSubject, "the identity %s is lessor's own", identity)
	}
	return messages.CheckToken("identity", identity)
}

// admit counts a request that is about to begin a lease in its identity's rate, or
// says when there is room. The count is made of the records, by each replica from its
// watch, so there is no other state that could be lost or disagree, and what is refused
// leaves nothing. What other replicas have in hand meanwhile may come on top.
func (c *Consumer) admit(d messages.DynamicSecret, a ask) error {
	most := c.mostOf(d)
	if most == 0 {
		return nil
	}
	wait, known := c.cfg.Rate.Admit(a.name, a.origin.Sequence, most)
	return rateError(a.name, most, wait, known)
}

// mostOf is how many requests of an identity a minute there may be; 0: any number.
func (c *Consumer) mostOf(d messages.DynamicSecret) int {
	if d.MaxRequestsPerMinute > 0 {
		return d.MaxRequestsPerMinute
	}
	return c.cfg.MaxRequestsPerMinute
}

func rateError(name messages.LeaseName, most int, wait time.Duration, known bool) error {
	if !known {
		return errUncounted
	}
	if wait <= 0 {
		return nil
	}
	e := messages.Errorf(messages.CodeRateExceeded, "").After(wait)
	e.Message = "the limit is " + counted(most, "request") + " of " + name.Identity + " for " + name.Secret + " a minute; ask again in " + e.RetryAfter.String()
	return e
}

// errUncounted is for a moment after the start.
var errUncounted = errors.New("how many leases there are is not known yet")

// roomFor refuses a request at the door where the worker would refuse it for a limit:
// it need not be stored for that. One that repeats another is the worker's to decide.
func (c *Consumer) roomFor(ctx context.Context, k knock, key string) error {
	d, err := c.secrets.cached(ctx, k.tokens[1])
	if err != nil {
		return nil // the worker says what is wrong with it
	}
	name := messages.LeaseName{Identity: k.tokens[0], Secret: k.tokens[1]}
	err = c.checkLimits(d.DynamicSecret, name)
	if most := c.mostOf(d.DynamicSecret); err == nil && most > 0 {
		wait, known := c.cfg.Rate.Room(name.Identity, name.Secret, most)
		err = rateError(name, most, wait, known)
	}
	var full *messages.Error
	if !errors.As(err, &full) {
		return nil // there is room, or that is not known yet
	}
	if key != "" {
		name.ID = record.LeaseID(name.Identity, name.Secret, key, 0, time.Time{})
		if _, err := c.leases.load(ctx, name); err == nil {
			return nil
		}
	}
	return full
}

// places are those at the front door. An identity that floods it has no more than its
// share of them. The zero value has all of them free.
type places struct {
	mu    sync.Mutex
	all   int
	taken map[string]int // by identity
}

// take takes a place for somebody, or says why there is none.
func (p *places) take(identity string) *messages.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.taken[identity] >= maxKnocksOfOne:
		return errFullShare
	case p.all >= maxKnocks:
		return errFullHouse
	}
	if p.taken == nil {
		p.taken = map[string]int{}
	}
	p.taken[identity]++
	p.all++
	return nil
}

func (p *places) leave(identity string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all--
	if p.taken[identity]--; p.taken[identity] == 0 {
		delete(p.taken, identity)
	}
}

var (
	errFullShare = messages.Errorf(messages.CodeUnavailable,
		"%d requests of this identity are being handled already; try again in a moment", maxKnocksOfOne).After(time.Second)
	errFullHouse = messages.Errorf(messages.CodeUnavailable, "too many requests at once; try again in a moment").After(time.Second)
)

// counted is a number of things in words.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return strconv.Itoa(n) + " " + thing + "s"
}
