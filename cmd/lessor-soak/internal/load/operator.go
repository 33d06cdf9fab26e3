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

// Operator uses the admin API: it revokes leases, puts and deletes a definition, rotates a
// key, and gives up leases that can't be revoked. It also creates orphans in AWS.
type Operator struct {
	*Load
	admin        *client.Admin
	random       *rand.Rand
	installation string
	orphans      int // created so far
}

// maxOrphans is how many orphans exist at the same time. A sweep that finds many at once
// does not delete them.
const maxOrphans = 4

// NewOperator returns an operator who has put the definitions that are not files.
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
	key, err := l.w.Control.AddPrincipal(ctx, world.Manager)
	if err != nil {
		return nil, err
	}
	return o, errors.Join(
		o.put(ctx, world.Definition(world.Keyed, messages.HardExpiryLease, fmt.Sprintf("method: access_key, access_key_id: %s, secret_access_key: %s", key[0], key[1]))),
		o.put(ctx, briefDefinition()),
	)
}

func briefDefinition() string {
	return world.Definition(world.Brief, messages.HardExpiryLease, "method: default")
}

func (o *Operator) put(ctx context.Context, definition string) error {
	d, err := secretfile.Parse([]byte(definition))
	if err != nil {
		return err
	}
	_, err = o.admin.PutSecret(ctx, messages.SecretPut{Definition: d, NoCheck: true})
	return err
}

// run gives one command after another until the context ends.
func (o *Operator) run(ctx context.Context) {
	o.createOrphan(ctx)
	commands := []func(context.Context){o.revoke, o.revoke, o.revokeAll, o.putBrief, o.putBrief, o.deleteBrief}
	if !o.short { // an interrupted rotation is continued after two minutes
		commands = append(commands, o.rotate, o.rotate, o.giveUp, o.createOrphan, o.createOrphan)
	}
	for retry.Sleep(ctx, time.Duration(200+o.random.IntN(1500))*time.Millisecond) == nil {
		once, cancel := withPatience(ctx)
		commands[o.random.IntN(len(commands))](once)
		cancel()
	}
}

// count counts a command by its result. Any error may be temporary.
func (o *Operator) count(what string, err error) {
	var answer *messages.Error
	switch {
	case err == nil:
		o.tally.Add(what, 1)
	case errors.As(err, &answer):
		o.tally.Add("operator commands answered with "+string(answer.Code), 1)
	default:
		o.tally.Excuse("operator commands without an answer")
	}
}

// revoke revokes a lease of a requester.
func (o *Operator) revoke(ctx context.Context) {
	o.mu.Lock()
	leases := slices.Sorted(maps.Keys(o.leases))
	o.mu.Unlock()
	if len(leases) == 0 {
		return
	}
	lease := leases[o.random.IntN(len(leases))]
	o.tally.OperatorEnds(lease)
	_, err := o.admin.RevokeLeases(ctx, messages.LeaseCommand{Lease: lease, Reason: "the operator revokes it"})
	o.count("leases that an operator revoked", err)
}

// revokeAll revokes the leases of an identity.
func (o *Operator) revokeAll(ctx context.Context) {
	identity := identityOf(o.random.IntN(o.clients))
	o.tally.OperatorEnds(identity)
	_, err := o.admin.RevokeLeases(ctx, messages.LeaseCommand{Identity: identity})
	o.count("identities whose leases an operator revoked", err)
}

func (o *Operator) putBrief(ctx context.Context) {
	o.count("definitions put", o.put(ctx, briefDefinition()))
}

func (o *Operator) deleteBrief(ctx context.Context) {
	_, err := o.admin.DeleteSecret(ctx, world.Brief, false)
	o.count("definitions deleted", err)
}

func (o *Operator) rotate(ctx context.Context) {
	_, err := o.admin.RotateKey(ctx, world.Keyed)
	o.count("managing keys rotated", err)
}

// giveUp gives up a lease that could not be revoked.
func (o *Operator) giveUp(ctx context.Context) {
	failing, _, err := o.admin.Leases(ctx, messages.LeaseQuery{Failing: true})
	if err != nil || len(failing) == 0 || o.existingOrphans(ctx) >= maxOrphans {
		return
	}
	lease := failing[o.random.IntN(len(failing))].Name
	o.tally.OperatorGivesUp(lease)
	_, err = o.admin.GiveUpLease(ctx, lease, "")
	o.count("leases given up with force", err)
}

// createOrphan creates a user in AWS that belongs to no lease, for the sweep.
func (o *Operator) createOrphan(ctx context.Context) {
	if o.existingOrphans(ctx) >= maxOrphans {
		return
	}
	o.orphans++
	if o.w.Control.AddOrphan(ctx, o.installation, fmt.Sprintf("%s%d", orphanPrefix, o.orphans)) == nil {
		o.tally.Fault("orphans created", 1)
	}
}

// orphanPrefix is the prefix of the names of created orphans.
const orphanPrefix = "lost-"

// existingOrphans returns how many orphans exist in AWS. If that is not known, it returns
// maxOrphans.
func (o *Operator) existingOrphans(ctx context.Context) int {
	users, err := o.w.Control.Users(ctx)
	if err != nil {
		return maxOrphans
	}
	n := 0
	for _, u := range users {
		if strings.HasPrefix(u.Name, orphanPrefix) || o.tally.GivenUp(u.Lease) {
			n++
		}
	}
	return n
}

// Settle gives the last commands, after the faults: it deletes the definition with its
// leases, revokes the sessions, which last longer than a test, and rotates the managing
// user's key, because rotations hardly ever finish between the faults.
func (o *Operator) Settle(ctx context.Context) {
	o.repeat(ctx, world.Brief, "deletion", finalPatience, func(ctx context.Context) error {
		_, err := o.admin.DeleteSecret(ctx, world.Brief, false) // deleted when its leases have ended
		if messages.IsCode(err, messages.CodeSecretNotFound) {
			return nil
		}
		return err
	})
	o.repeat(ctx, world.Role, "revocation", finalPatience, func(ctx context.Context) error {
		_, err := o.admin.RevokeLeases(ctx, messages.LeaseCommand{Secret: world.Role})
		return err
	})
	if o.short {
		return
	}
	// A rotation that a fault interrupted is finished first, two minutes after its start.
	o.repeat(ctx, world.Keyed, "rotation", verdict.SettleBound, func(ctx context.Context) error {
		_, err := o.admin.RotateKey(ctx, world.Keyed)
		if err != nil {
			_ = retry.Sleep(ctx, 2*time.Second) // each command emits an event
		}
		return err
	})
}

// repeat repeats a command until it succeeds. It must do so within the limit.
func (o *Operator) repeat(ctx context.Context, secret, what string, limit time.Duration, command func(context.Context) error) {
	err := poll.Within(ctx, limit, what, func() error {
		once, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		return command(once)
	})
	if err != nil {
		o.tally.Violated(verdict.Unanswered, secret, "%s", err)
	}
}
