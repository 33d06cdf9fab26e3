// Package load is the requesters and the operator of a soak test. They use a broker in
// every way it has, and check its answers.
package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/world"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

// Timeouts of requesters. A fault is shorter, but one can follow another.
const (
	patience        = 30 * time.Second // for an answer
	resend          = 4 * time.Second
	noResponderWait = 15 * time.Second
	finalPatience   = 60 * time.Second // for an answer after the faults
)

// Load is the requesters.
type Load struct {
	w       *world.World
	tally   *verdict.Tally
	seed    uint64
	clients int
	conns   []*nats.Conn
	running sync.WaitGroup
	// Leases last minTTL to minTTL+ttlSpread seconds. A short test has short leases, because
	// it waits for the last of them.
	minTTL, ttlSpread int
	short             bool

	mu     sync.Mutex
	atEnd  []func(context.Context) // requests that had no answer, to be repeated after the faults
	leases map[string]bool         // leases that no requester has revoked
}

// New returns n requesters for a test with the given duration. The seed chooses what they
// do.
func New(w *world.World, t *verdict.Tally, seed uint64, n int, d time.Duration) (*Load, error) {
	l := &Load{w: w, tally: t, seed: seed, clients: n, minTTL: 8, ttlSpread: 18, leases: map[string]bool{}}
	if l.short = d < world.Short; l.short {
		l.minTTL, l.ttlSpread = 6, 2
	}
	for i := range world.Nodes {
		nc, err := w.Connect(fmt.Sprintf("requesters %d", i+1))
		if err != nil {
			l.Close()
			return nil, err
		}
		l.conns = append(l.conns, nc)
	}
	return l, nil
}

// Start starts the requesters and the operator. When the context ends they finish what
// they have begun; see Wait.
func (l *Load) Start(ctx context.Context, o *Operator) {
	for i := range l.clients {
		r := &requester{
			Load: l, identity: identityOf(i), random: rand.New(rand.NewPCG(l.seed, uint64(i)+1)),
			nc: l.conns[i%len(l.conns)],
		}
		l.running.Go(func() { r.run(ctx) })
	}
	l.running.Go(func() { o.run(ctx) })
}

// identityOf returns the identity of a requester.
func identityOf(i int) string { return fmt.Sprintf("soaker%d", i) }

// Wait waits until the requesters and the operator have finished.
func (l *Load) Wait() { l.running.Wait() }

// Close closes the connections.
func (l *Load) Close() {
	for _, nc := range l.conns {
		nc.Close()
	}
}

// client returns a client of an identity.
func (l *Load) client(nc *nats.Conn, identity string, timeout time.Duration) *client.Client {
	c, err := client.New(nc, client.Options{Identity: identity, Timeout: timeout, Resend: resend, NoResponderWait: noResponderWait})
	if err != nil {
		panic(err) // the options are valid
	}
	return c
}

// repeatAtEnd has a request repeated after the faults.
func (l *Load) repeatAtEnd(request func(context.Context)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.atEnd = append(l.atEnd, request)
}

// leaseStarted records that a requester has a lease.
func (l *Load) leaseStarted(lease string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leases[lease] = true
}

// leaseEnded records that a lease was revoked.
func (l *Load) leaseEnded(lease string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.leases, lease)
}

// Settle repeats, after the faults, the requests that had no answer, and revokes half of
// the remaining leases. The others expire.
func (l *Load) Settle(ctx context.Context) {
	if err := l.w.WaitReady(ctx, finalPatience); err != nil {
		l.tally.Violated(verdict.NotReady, "brokers", "%s", err)
	}
	l.mu.Lock()
	requests := l.atEnd
	revoke := true
	for lease := range l.leases {
		if name, err := messages.ParseLeaseName(lease); err == nil && revoke {
			requests = append(requests, func(ctx context.Context) { l.revokeAtEnd(ctx, name) })
		}
		revoke = !revoke
	}
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 2*finalPatience)
	defer cancel()
	slots := make(chan struct{}, 32)
	var all sync.WaitGroup
	for _, request := range requests {
		slots <- struct{}{}
		all.Go(func() { defer func() { <-slots }(); request(ctx) })
	}
	all.Wait()
}

// revokeAtEnd revokes a lease, which must be answered.
func (l *Load) revokeAtEnd(ctx context.Context, name messages.LeaseName) {
	ctx, cancel := context.WithTimeout(ctx, finalPatience)
	defer cancel()
	_, err := l.client(l.conns[0], name.Identity, finalPatience).Revoke(ctx, name.String(), "the test ends")
	if err != nil && !isAnswer(err) {
		l.tally.Violated(verdict.Unanswered, name.String(), "revocation: %s", err)
	}
}

// isAnswer reports whether an error is a broker's answer.
func isAnswer(err error) bool {
	var answer *messages.Error
	return errors.As(err, &answer)
}
