package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/client"
)

// soakOperator is the person who runs the brokers: ends other people's leases, puts
// and deletes a definition, rotates a key, gives up what can't be revoked. And has bad
// luck: users of which every trace is lost, for the sweep to find.
type soakOperator struct {
	*soakLoad
	admin        *client.Admin
	random       *rand.Rand
	installation string
	losses       int
}

// maxLosses is how many users at most wait for the sweep: masses are suspicious.
const maxLosses = 4

func newSoakOperator(ctx context.Context, l *soakLoad) (*soakOperator, error) {
	o := &soakOperator{soakLoad: l, random: rand.New(rand.NewPCG(l.seed, 1<<32))}
	var err error
	if o.admin, err = client.NewAdmin(l.conns[0], client.AdminOptions{Resend: soakResend}); err != nil {
		return nil, err
	}
	state, err := l.w.js.KeyValue(ctx, messages.Namespace{}.StateBucket())
	if err != nil {
		return nil, err
	}
	id, err := state.Get(ctx, "installation")
	if err != nil {
		return nil, err
	}
	o.installation = string(id.Value())
	pair, err := l.w.control.principal(ctx, soakManager)
	if err != nil {
		return nil, err
	}
	return o, errors.Join(
		o.put(ctx, soakSecret(soakKeyed, messages.HardExpiryLease, fmt.Sprintf("method: access_key, access_key_id: %s, secret_access_key: %s", pair[0], pair[1]))),
		o.put(ctx, soakSecret(soakBrief, messages.HardExpiryLease, "method: default")),
	)
}

func (o *soakOperator) put(ctx context.Context, definition string) error {
	d, err := parseSecret([]byte(definition))
	if err != nil {
		return err
	}
	_, err = o.admin.PutSecret(ctx, messages.SecretPut{Definition: d, NoCheck: true})
	return err
}

// work does one thing after another until the context ends.
func (o *soakOperator) work(ctx context.Context) {
	o.lose(ctx)
	kinds := []func(context.Context){o.revoke, o.revoke, o.revokeAll, o.putBrief, o.putBrief, o.deleteBrief}
	if !o.short { // a rotation that was cut short is gone on with after two minutes
		kinds = append(kinds, o.rotate, o.rotate, o.giveUp, o.lose, o.lose)
	}
	for ctx.Err() == nil {
		soakSleep(ctx, time.Duration(200+o.random.IntN(1500))*time.Millisecond)
		once, cancel := patient(ctx)
		kinds[o.random.IntN(len(kinds))](once)
		cancel()
	}
}

// did counts what an operator did. What had no answer, or a refusal, an operator
// tries again later.
func (o *soakOperator) did(what string, err error) {
	var told *messages.Error
	switch {
	case err == nil:
		o.tally.add(what, 1)
	case errors.As(err, &told):
		o.tally.add("orders of operators answered with "+string(told.Code), 1)
	default:
		o.tally.lost("orders of operators without an answer")
	}
}

// revoke ends somebody's lease.
func (o *soakOperator) revoke(ctx context.Context) {
	o.mu.Lock()
	held := slices.Sorted(maps.Keys(o.leases))
	o.mu.Unlock()
	if len(held) == 0 {
		return
	}
	lease := held[o.random.IntN(len(held))]
	o.tally.ordered(lease, false)
	_, err := o.admin.RevokeLeases(ctx, messages.LeaseCommand{Lease: lease, Reason: "the operator wants it"})
	o.did("leases that an operator ended", err)
}

// revokeAll ends the leases of one identity.
func (o *soakOperator) revokeAll(ctx context.Context) {
	identity := soakIdentity(o.random.IntN(o.n))
	o.tally.orderedAll(identity)
	_, err := o.admin.RevokeLeases(ctx, messages.LeaseCommand{Identity: identity})
	o.did("identities whose leases an operator ended", err)
}

func (o *soakOperator) putBrief(ctx context.Context) {
	o.did("definitions put", o.put(ctx, soakSecret(soakBrief, messages.HardExpiryLease, "method: default")))
}

func (o *soakOperator) deleteBrief(ctx context.Context) {
	_, err := o.admin.DeleteSecret(ctx, soakBrief, false)
	o.did("definitions deleted", err)
}

func (o *soakOperator) rotate(ctx context.Context) {
	_, err := o.admin.RotateKey(ctx, soakKeyed)
	o.did("managing keys rotated", err)
}

// giveUp drops a lease that could not be revoked.
func (o *soakOperator) giveUp(ctx context.Context) {
	failing, _, err := o.admin.Leases(ctx, messages.LeaseQuery{Failing: true})
	if err != nil || len(failing) == 0 || o.waiting(ctx) >= maxLosses {
		return
	}
	lease := failing[o.random.IntN(len(failing))].Name
	o.tally.ordered(lease, true)
	_, err = o.admin.GiveUpLease(ctx, lease, "")
	o.did("leases given up with force", err)
}

// lose leaves a user of which nobody knows.
func (o *soakOperator) lose(ctx context.Context) {
	if o.waiting(ctx) >= maxLosses {
		return
	}
	o.losses++
	if o.w.control.lose(ctx, o.installation, fmt.Sprintf("lost-%d", o.losses)) == nil {
		o.tally.broke("users made of which no lease knows", 1)
	}
}

// waiting is how many users wait for the sweep.
func (o *soakOperator) waiting(ctx context.Context) int {
	users, err := o.w.control.users(ctx)
	if err != nil {
		return maxLosses
	}
	n := 0
	for _, u := range users {
		if strings.HasPrefix(u.Name, "lost-") || o.tally.wasGivenUp(u.Lease) {
			n++
		}
	}
	return n
}

// settle deletes, with everything well, the definition with its leases, ends the
// sessions, which last longer than anybody wants to wait, and rotates the managing
// user's key: in the storm hardly anybody who asks for that lives to hear that it is
// done.
func (o *soakOperator) settle(ctx context.Context) {
	err := soakUntil(ctx, lastPatience, "the definition is being deleted", func() error {
		once, cancel := context.WithTimeout(ctx, soakPatience)
		defer cancel()
		_, err := o.admin.DeleteSecret(once, soakBrief, false) // it goes when its leases have gone
		if messages.IsCode(err, messages.CodeSecretNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		o.tally.violated("unanswered", soakBrief, "deletion: %s", err)
	}
	err = soakUntil(ctx, lastPatience, "the sessions are revoked", func() error {
		once, cancel := context.WithTimeout(ctx, soakPatience)
		defer cancel()
		_, err := o.admin.RevokeLeases(once, messages.LeaseCommand{Secret: soakRole})
		return err
	})
	if err != nil {
		o.tally.violated("unanswered", soakRole, "revocation: %s", err)
	}
	if o.short {
		return
	}
	// One that the storm cut short is finished first, two minutes after it was begun.
	err = soakUntil(ctx, settleBound, "the managing user's key is rotated", func() error {
		once, cancel := context.WithTimeout(ctx, soakPatience)
		defer cancel()
		_, err := o.admin.RotateKey(once, soakKeyed)
		if err != nil {
			soakSleep(ctx, 2*time.Second) // each order is told
		}
		return err
	})
	if err != nil {
		o.tally.violated("unanswered", soakKeyed, "rotation: %s", err)
	}
}
