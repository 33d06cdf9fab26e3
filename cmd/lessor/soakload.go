package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

// soakShort is the duration below which a soak is made not to be waited for long.
const soakShort = 20 * time.Second

// soakLabel is the label by which the events tell which request a lease is of.
const soakLabel = "asked"

// How patient requesters are. Outages are shorter, but they come in rows.
const (
	soakPatience = 30 * time.Second
	soakResend   = 4 * time.Second
	soakUnheard  = 15 * time.Second
	// lastPatience is how long an answer may take when everything is well again.
	lastPatience = 60 * time.Second
)

// soakLoad is the requesters.
type soakLoad struct {
	w     *soakWorld
	tally *soakTally
	seed  uint64
	conns []*nats.Conn
	all   sync.WaitGroup
	n     int
	// Leases last this many seconds and up to spread more: little in a short soak, for
	// the last of them is waited for.
	least, spread int
	short         bool

	mu     sync.Mutex
	open   []func(context.Context) // what had no answer in time, to be repeated at the end
	leases map[string]bool         // leases that nobody has ended
}

func newSoakLoad(w *soakWorld, t *soakTally, seed uint64, n int, d time.Duration) (*soakLoad, error) {
	l := &soakLoad{w: w, tally: t, seed: seed, n: n, least: 8, spread: 18, leases: map[string]bool{}}
	if l.short = d < soakShort; l.short {
		l.least, l.spread = 6, 2
	}
	for i := range soakNodes {
		nc, err := w.connect(fmt.Sprintf("requesters %d", i+1))
		if err != nil {
			l.close()
			return nil, err
		}
		l.conns = append(l.conns, nc)
	}
	return l, nil
}

// start has requesters work until the context ends. What is in hand then they
// finish.
func (l *soakLoad) start(ctx context.Context) {
	for i := range l.n {
		r := &soakRequester{
			soakLoad: l, identity: soakIdentity(i), random: rand.New(rand.NewPCG(l.seed, uint64(i)+1)),
			nc: l.conns[i%len(l.conns)],
		}
		l.all.Go(func() { r.work(ctx) })
	}
}

// soakIdentity is who the requester with that number is.
func soakIdentity(i int) string { return fmt.Sprintf("soaker%d", i) }

func (l *soakLoad) wait() { l.all.Wait() }

func (l *soakLoad) close() {
	for _, nc := range l.conns {
		nc.Close()
	}
}

// client is a patient client of that identity.
func (l *soakLoad) client(nc *nats.Conn, identity string, patience time.Duration) *client.Client {
	c, err := client.New(nc, client.Options{Identity: identity, Timeout: patience, Resend: soakResend, NoResponderWait: soakUnheard})
	if err != nil {
		panic(err) // the identities are ours
	}
	return c
}

// later keeps what had no answer in time, to be repeated when all is well.
func (l *soakLoad) later(again func(context.Context)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, again)
}

func (l *soakLoad) holds(lease string, yes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if yes {
		l.leases[lease] = true
	} else {
		delete(l.leases, lease)
	}
}

// settle repeats, with everything well, what had no answer, and revokes half of
// the leases that are still there; the others expire.
func (l *soakLoad) settle(ctx context.Context) {
	if err := l.w.ready(ctx, lastPatience); err != nil {
		l.tally.violated("unready", "brokers", "%s", err)
	}
	l.mu.Lock()
	work := l.open
	for lease := range l.leases {
		if name, err := messages.ParseLeaseName(lease); err == nil && len(work)%2 == 0 {
			work = append(work, func(ctx context.Context) { l.revokeLast(ctx, name) })
		} else {
			work = append(work, func(context.Context) {})
		}
	}
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 2*lastPatience)
	defer cancel()
	slots := make(chan struct{}, 32)
	var all sync.WaitGroup
	for _, do := range work {
		slots <- struct{}{}
		all.Go(func() { defer func() { <-slots }(); do(ctx) })
	}
	all.Wait()
}

func (l *soakLoad) revokeLast(ctx context.Context, name messages.LeaseName) {
	ctx, cancel := context.WithTimeout(ctx, lastPatience)
	defer cancel()
	_, err := l.client(l.conns[0], name.Identity, lastPatience).Revoke(ctx, name.String(), "the soak is over")
	if err != nil && !isAnswer(err) {
		l.tally.violated("unanswered", name.String(), "revocation: %s", err)
	}
}

// isAnswer says whether an error was told by the broker.
func isAnswer(err error) bool {
	var told *messages.Error
	return errors.As(err, &told)
}
