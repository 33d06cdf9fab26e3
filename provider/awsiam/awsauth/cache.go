package awsauth

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/rs/zerolog"
)

const (
	// refreshWindow is how long before their expiry credentials are refreshed, less up
	// to half of it at random, so that the replicas do not refresh at the same time.
	refreshWindow = 5 * time.Minute
	// refreshPause is the least time between two refreshes while the present
	// credentials are valid.
	refreshPause = 30 * time.Second
)

// Cache keeps credentials and refreshes them before they expire. It is safe for
// concurrent use.
//
// It replaces [aws.CredentialsCache], which drops valid credentials when their
// refresh fails, makes every call wait for a refresh, has no clock that can be set,
// and retrieves credentials with the context of the call that happens to need them,
// so that the traces and values of that context would apply to the refresh.
type Cache struct {
	retrieve func(context.Context) (aws.Credentials, error) // its error is an [*Error]
	op       string                                         // the call that retrieve makes
	timeout  time.Duration                                  // of retrieve
	now      func() time.Time
	log      zerolog.Logger

	mu          sync.Mutex
	present     aws.Credentials
	retrievedAt time.Time
	refreshAt   time.Time
	running     *refresh // nil if no refresh is in progress
}

var _ aws.CredentialsProvider = (*Cache)(nil)

// refresh is one refresh. Its result may be read once done is closed.
type refresh struct {
	done        chan struct{}
	credentials aws.Credentials
	err         error
}

// Retrieve returns the present credentials while they are valid. Otherwise it waits
// for a refresh. A refresh that began before the machine slept may return credentials
// that have expired meanwhile; Retrieve then waits for one more.
func (c *Cache) Retrieve(ctx context.Context) (aws.Credentials, error) {
	present, valid, r := c.look()
	for again := true; !valid; again = false {
		select {
		case <-r.done:
		case <-ctx.Done():
			return aws.Credentials{}, unauthenticated(c.op, ctx.Err())
		}
		if r.err != nil || !again {
			return r.credentials, r.err
		}
		present, valid, r = c.look()
	}
	return present, nil
}

// look returns the present credentials, and starts a refresh if one is due and none
// is in progress. If the credentials are not valid, a refresh is in progress.
func (c *Cache) look() (aws.Credentials, bool, *refresh) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, p := c.now(), c.present
	valid := p.HasKeys() && (!p.CanExpire || now.Before(p.Expires))
	if valid && (!p.CanExpire || now.Before(c.refreshAt)) {
		return p, true, nil
	}
	if c.running == nil {
		c.running = &refresh{done: make(chan struct{})}
		go c.run(c.running)
	}
	return p, valid, c.running
}

// run retrieves credentials once for all callers. It does not end when one of them
// gives up.
func (c *Cache) run(r *refresh) {
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	r.credentials, r.err = c.retrieve(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.refreshAt = now.Add(refreshPause)
	if r.err == nil {
		c.present, c.retrievedAt = r.credentials, now
		if at := r.credentials.Expires.Add(rand.N(refreshWindow/2) - refreshWindow); at.After(c.refreshAt) { // #nosec G404 -- spreads the replicas' refreshes
			c.refreshAt = at
		}
	} else if c.present.HasKeys() && now.Before(c.present.Expires) {
		c.log.Warn().Err(r.err).Time("expires_at", c.present.Expires).
			Msg("the credentials for AWS could not be refreshed; the present ones are used until they expire")
	}
	c.running = nil
	close(r.done)
}

// Wait waits until no refresh is in progress.
func (c *Cache) Wait() {
	c.mu.Lock()
	r := c.running
	c.mu.Unlock()
	if r != nil {
		<-r.done
	}
}

// Expired states that AWS takes the present credentials for expired, whatever the
// local clock says. It is ignored if they were retrieved just now: AWS may have
// answered a call that was signed with the ones before.
func (c *Cache) Expired() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); c.present.CanExpire && now.Sub(c.retrievedAt) > refreshPause {
		c.present.Expires = now
	}
}
