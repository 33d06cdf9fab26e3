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

// How patient requesters are. Outages are shorter, but they come in rows.
const (
	patience = 30 * time.Second
	resend   = 4 * time.Second
	unheard  = 15 * time.Second
	// lastPatience is how long an answer may take when everything is well again.
	lastPatience = 60 * time.Second
)

// Load is the requesters.
type Load struct {
	w     *world.World
	tally *verdict.Tally
	seed  uint64
	conns []*nats.Conn
	All   sync.WaitGroup
	n     int
	// Leases last this many seconds and up to spread more: little in a short soak, for
	// the last of them is waited for.
	least, spread int
	short         bool

	mu     sync.Mutex
	open   []func(context.Context) // what had no answer in time, to be repeated at the end
	leases map[string]bool         // leases that nobody has ended
}

func New(w *world.World, t *verdict.Tally, seed uint64, n int, d time.Duration) (*Load, error) {
	l := &Load{w: w, tally: t, seed: seed, n: n, least: 8, spread: 18, leases: map[string]bool{}}
	if l.short = d < world.Short; l.short {
		l.least, l.spread = 6, 2
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

// Start has requesters work until the context ends. What is in hand then they
// finish.
func (l *Load) Start(ctx context.Context) {
	for i := range l.n {
		r := &requester{
			Load: l, identity: identityOf(i), random: rand.New(rand.NewPCG(l.seed, uint64(i)+1)),
			nc: l.conns[i%len(l.conns)],
		}
		l.All.Go(func() { r.work(ctx) })
	}
}

// identityOf is who the requester with that number is.
func identityOf(i int) string { return fmt.Sprintf("soaker%d", i) }

func (l *Load) Wait() { l.All.Wait() }

func (l *Load) Close() {
	for _, nc := range l.conns {
		nc.Close()
	}
}

// client is a patient client of that identity.
func (l *Load) client(nc *nats.Conn, identity string, patience time.Duration) *client.Client {
	c, err := client.New(nc, client.Options{Identity: identity, Timeout: patience, Resend: resend, NoResponderWait: unheard})
	if err != nil {
		panic(err) // the identities are ours
	}
	return c
}

// later keeps what had no answer in time, to be repeated when all is well.
func (l *Load) later(again func(context.Context)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, again)
}

func (l *Load) holds(lease string, yes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if yes {
		l.leases[lease] = true
	} else {
		delete(l.leases, lease)
	}
}

// Settle repeats, with everything well, what had no answer, and revokes half of
// the leases that are still there; the others expire.
func (l *Load) Settle(ctx context.Context) {
	if err := l.w.Ready(ctx, lastPatience); err != nil {
		l.tally.Violated(verdict.Unready, "brokers", "%s", err)
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

func (l *Load) revokeLast(ctx context.Context, name messages.LeaseName) {
	ctx, cancel := context.WithTimeout(ctx, lastPatience)
	defer cancel()
	_, err := l.client(l.conns[0], name.Identity, lastPatience).Revoke(ctx, name.String(), "the soak is over")
	if err != nil && !isAnswer(err) {
		l.tally.Violated(verdict.Unanswered, name.String(), "revocation: %s", err)
	}
}

// isAnswer says whether an error was told by the broker.
func isAnswer(err error) bool {
	var told *messages.Error
	return errors.As(err, &told)
}
