package awsiam

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/rs/zerolog"
)

const (
	// refreshWindow is how long before they expire credentials are refreshed; up
	// to half of it later at random, so that not all brokers do it at once.
	refreshWindow = 5 * time.Minute
	// refreshAgain is how long nobody tries after a refresh, whatever came of it,
	// as long as the present credentials are valid.
	refreshAgain = 30 * time.Second
)

// cache keeps credentials, and refreshes them before they expire. It is not the
// SDK's own, which gives up valid credentials when their refresh fails, has every
// call wait for it, looks at no clock but the machine's, and asks for credentials
// in the name of the call that happens to need them: what is followed of that
// call, such as whether it is on the wire, would be told of the other.
type cache struct {
	retrieve func(context.Context) (aws.Credentials, error) // its error is a *noCredentials
	op       string                                         // what retrieve calls
	timeout  time.Duration                                  // of retrieve
	now      func() time.Time
	log      zerolog.Logger

	mu      sync.Mutex
	present aws.Credentials
	brought time.Time // when they came
	due     time.Time // when to refresh them
	flight  *flight   // the refresh that is under way; nil: none
}

var _ aws.CredentialsProvider = (*cache)(nil)

// flight is one refresh. What it brought may be read when done is closed.
type flight struct {
	done        chan struct{}
	credentials aws.Credentials
	err         error
}

// Retrieve returns the present credentials as long as they are valid. Where they
// are not, it waits for others. A refresh that began long ago, before the machine
// slept, may bring such as have expired meanwhile: then it waits for one more.
func (c *cache) Retrieve(ctx context.Context) (aws.Credentials, error) {
	present, valid, f := c.look()
	for again := true; !valid; again = false {
		select {
		case <-f.done:
		case <-ctx.Done():
			return aws.Credentials{}, unauthenticated(c.op, ctx.Err())
		}
		if f.err != nil || !again {
			return f.credentials, f.err
		}
		present, valid, f = c.look()
	}
	return present, nil
}

// look returns the present credentials, and starts a refresh if that is due and
// none is under way. There is one if they are not valid.
func (c *cache) look() (aws.Credentials, bool, *flight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, p := c.now(), c.present
	valid := p.HasKeys() && (!p.CanExpire || now.Before(p.Expires))
	if valid && (!p.CanExpire || now.Before(c.due)) {
		return p, true, nil
	}
	if c.flight == nil {
		c.flight = &flight{done: make(chan struct{})}
		go c.refresh(c.flight)
	}
	return p, valid, c.flight
}

// refresh asks once for all who need it; it does not end with any of them.
func (c *cache) refresh(f *flight) {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	f.credentials, f.err = c.retrieve(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.due = now.Add(refreshAgain)
	if f.err == nil {
		c.present, c.brought = f.credentials, now
		if due := f.credentials.Expires.Add(rand.N(refreshWindow/2) - refreshWindow); due.After(c.due) { // #nosec G404 -- brokers are to ask at different times, and no more
			c.due = due
		}
	} else if c.present.HasKeys() && now.Before(c.present.Expires) {
		c.log.Warn().Err(f.err).Time("expires_at", c.present.Expires).
			Msg("the credentials for AWS could not be refreshed; the present ones are used until they expire")
	}
	c.flight = nil
	close(f.done)
}

// refused says that AWS takes the present credentials for expired, whatever the
// clock here says. Where they came just now, the answer may be to a call that was
// made with the ones before.
func (c *cache) refused() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); c.present.CanExpire && now.Sub(c.brought) > refreshAgain {
		c.present.Expires = now
	}
}
