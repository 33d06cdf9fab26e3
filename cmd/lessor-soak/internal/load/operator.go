package load

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/lessorhq/lessor/cmd/internal/poll"
	"github.com/lessorhq/lessor/cmd/internal/secretfile"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/verdict"
	"github.com/lessorhq/lessor/cmd/lessor-soak/internal/world"
	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
	"github.com/lessorhq/lessor/messages/retry"
)

// Operator is the person who runs the brokers: ends other people's leases, puts
// and deletes a definition, rotates a key, gives up what can't be revoked. And has bad
// luck: users of which every trace is lost, for the sweep to find.
type Operator struct {
	*Load
	admin        *client.Admin
	random       *rand.Rand
	installation string
	losses       int
}

// maxLosses is how many users at most wait for the sweep: masses are suspicious.
const maxLosses = 4

func NewOperator(ctx context.Context, l *Load) (*Operator, error) {
	o := &Operator{Load: l, random: rand.New(rand.NewPCG(l.seed, 1<<32))}
	var err error
	if o.admin, err = client.NewAdmin(l.conns[0], client.AdminOptions{Resend: resend}); err != nil {
		return nil, err
	}
	state, err := l.w.JS.KeyValue(ctx, messages.Namespace{}.StateBucket())
	if err != nil {
		return nil, err
	}
	id, err := state.Get(ctx, "installation")
	if err != nil {
		return nil, err
	}
	o.installation = string(id.Value())
	pair, err := l.w.Control.Principal(ctx, world.Manager)
	if err != nil {
		return nil, err
	}
	return o, errors.Join(
		o.put(ctx, world.Definition(world.Keyed, messages.HardExpiryLease, fmt.Sprintf("method: access_key, access_key_id: %s, secret_access_key: %s", pair[0], pair[1]))),
		o.put(ctx, world.Definition(world.Brief, messages.HardExpiryLease, "method: default")),
	)
}

func (o *Operator) put(ctx context.Context, definition string) error {
	d, err := secretfile.Parse([]byte(definition))
	if err != nil {
		return err
	}
	_, err = o.admin.PutSecret(ctx, messages.SecretPut{Definition: d, NoCheck: true})
	return err
}

// Work does one thing after another until the context ends.
func (o *Operator) Work(ctx context.Context) {
	o.lose(ctx)
	kinds := []func(context.Context){o.revoke, o.revoke, o.revokeAll, o.putBrief, o.putBrief, o.deleteBrief}
	if !o.short { // a rotation that was cut short is gone on with after two minutes
		kinds = append(kinds, o.rotate, o.rotate, o.giveUp, o.lose, o.lose)
	}
	for retry.Sleep(ctx, time.Duration(200+o.random.IntN(1500))*time.Millisecond) == nil {
		once, cancel := patient(ctx)
		kinds[o.random.IntN(len(kinds))](once)
		cancel()
	}
}

// did counts what an operator did. What had no answer, or a refusal, an operator
// tries again later.
func (o *Operator) did(what string, err error) {
	var told *messages.Error
	switch {
	case err == nil:
		o.tally.Add(what, 1)
	case errors.As(err, &told):
		o.tally.Add("orders of operators answered with "+string(told.Code), 1)
	default:
		o.tally.Lost("orders of operators without an answer")
	}
}

// revoke ends somebody's lease.
func (o *Operator) revoke(ctx context.Context) {
	o.mu.Lock()
	held := slices.Sorted(maps.Keys(o.leases))
	o.mu.Unlock()
	if len(held) == 0 {
		return
	}
	lease := held[o.random.IntN(len(held))]
	o.tally.Ordered(lease, false)
	_, err := o.admin.RevokeLeases(ctx, messages.LeaseCommand{Lease: lease, Reason: "the operator wants it"})
	o.did("leases that an operator ended", err)
}

// revokeAll ends the leases of one identity.
func (o *Operator) revokeAll(ctx context.Context) {
	identity := identityOf(o.random.IntN(o.n))
	o.tally.OrderedAll(identity)
	_, err := o.admin.RevokeLeases(ctx, messages.LeaseCommand{Identity: identity})
	o.did("identities whose leases an operator ended", err)
}

func (o *Operator) putBrief(ctx context.Context) {
	o.did("definitions put", o.put(ctx, world.Definition(world.Brief, messages.HardExpiryLease, "method: default")))
}

func (o *Operator) deleteBrief(ctx context.Context) {
	_, err := o.admin.DeleteSecret(ctx, world.Brief, false)
	o.did("definitions deleted", err)
}

func (o *Operator) rotate(ctx context.Context) {
	_, err := o.admin.RotateKey(ctx, world.Keyed)
	o.did("managing keys rotated", err)
}

// giveUp drops a lease that could not be revoked.
func (o *Operator) giveUp(ctx context.Context) {
	failing, _, err := o.admin.Leases(ctx, messages.LeaseQuery{Failing: true})
	if err != nil || len(failing) == 0 || o.waiting(ctx) >= maxLosses {
		return
	}
	lease := failing[o.random.IntN(len(failing))].Name
	o.tally.Ordered(lease, true)
	_, err = o.admin.GiveUpLease(ctx, lease, "")
	o.did("leases given up with force", err)
}

// lose leaves a user of which nobody knows.
func (o *Operator) lose(ctx context.Context) {
	if o.waiting(ctx) >= maxLosses {
		return
	}
	o.losses++
	if o.w.Control.Lose(ctx, o.installation, fmt.Sprintf("lost-%d", o.losses)) == nil {
		o.tally.Broke("users made of which no lease knows", 1)
	}
}

// waiting is how many users wait for the sweep.
func (o *Operator) waiting(ctx context.Context) int {
	users, err := o.w.Control.Users(ctx)
	if err != nil {
		return maxLosses
	}
	n := 0
	for _, u := range users {
		if strings.HasPrefix(u.Name, "lost-") || o.tally.WasGivenUp(u.Lease) {
			n++
		}
	}
	return n
}

// Settle deletes, with everything well, the definition with its leases, ends the
// sessions, which last longer than anybody wants to wait, and rotates the managing
// user's key: in the storm hardly anybody who asks for that lives to hear that it is
// done.
func (o *Operator) Settle(ctx context.Context) {
	err := poll.Within(ctx, lastPatience, "the definition is being deleted", func() error {
		once, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		_, err := o.admin.DeleteSecret(once, world.Brief, false) // it goes when its leases have gone
		if messages.IsCode(err, messages.CodeSecretNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		o.tally.Violated(verdict.Unanswered, world.Brief, "deletion: %s", err)
	}
	err = poll.Within(ctx, lastPatience, "the sessions are revoked", func() error {
		once, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		_, err := o.admin.RevokeLeases(once, messages.LeaseCommand{Secret: world.Role})
		return err
	})
	if err != nil {
		o.tally.Violated(verdict.Unanswered, world.Role, "revocation: %s", err)
	}
	if o.short {
		return
	}
	// One that the storm cut short is finished first, two minutes after it was begun.
	err = poll.Within(ctx, verdict.SettleBound, "the managing user's key is rotated", func() error {
		once, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		_, err := o.admin.RotateKey(once, world.Keyed)
		if err != nil {
			_ = retry.Sleep(ctx, 2*time.Second) // each command emits an event
		}
		return err
	})
	if err != nil {
		o.tally.Violated(verdict.Unanswered, world.Keyed, "rotation: %s", err)
	}
}
