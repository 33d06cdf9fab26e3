package consumer

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/messages/record"
	"github.com/lessorhq/lessor/provider"
	"github.com/lessorhq/lessor/provider/username"
)

// ask is a request, decoded.
type ask struct {
	name     messages.LeaseName
	origin   record.Origin
	request  messages.LeaseRequest
	replyTo  string
	deadline time.Time // zero: none
	keyed    bool      // it has an idempotency key
}

// decodeAsk reads a message on a request subject. What it returns beside an
// error tells whom to answer.
func (c *Consumer) decodeAsk(m *inbound) (ask, error) {
	var a ask
	if len(m.tokens) != 2 {
		return a, messages.Errorf(messages.CodeInvalidSubject, "the subject must be %s", c.cfg.Namespace.Request("<identity>", "<secret>"))
	}
	identity, secret := m.tokens[0], m.tokens[1]
	if err := checkRequester(identity); err != nil {
		return a, err
	}
	to := m.Headers().Get(messages.HeaderReplyTo)
	if err := c.cfg.Namespace.CheckReply(identity, to); err != nil {
		return a, err
	}
	a.replyTo = to
	if err := messages.CheckToken("secret", secret); err != nil {
		return a, err
	}
	key := m.Headers().Get(messages.HeaderIdempotencyKey)
	if err := messages.CheckIdempotencyKey(key); err != nil {
		return a, err
	}
	var err error
	if a.request, err = messages.DecodeLeaseRequest(m.Data()); err != nil {
		return a, err
	}
	a.deadline = a.request.Deadline
	if s := m.Headers().Get(messages.HeaderDeadline); s != "" {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return a, messages.Errorf(messages.CodeInvalidRequest, "%s must be a time in RFC 3339", messages.HeaderDeadline)
		}
		if a.deadline.IsZero() || t.Before(a.deadline) {
			a.deadline = t
		}
	}
	a.keyed = key != ""
	a.name = messages.LeaseName{Identity: identity, Secret: secret, ID: record.LeaseID(identity, secret, key, m.sequence, m.stored)}
	a.origin = record.Origin{Sequence: m.sequence, Stored: m.stored, Fingerprint: a.request.Fingerprint()}
	return a, nil
}

func (c *Consumer) handleRequest(ctx context.Context, m *inbound) {
	a, err := c.decodeAsk(m)
	if err != nil {
		c.reject(ctx, m, a.replyTo, err, nil)
		return
	}
	m.log = m.log.With().Str("lease", a.name.String()).Logger()
	if !m.again() && !a.keyed {
		c.begin(ctx, m, a, held{}) // nobody can have begun it
		return
	}
	rec, err := c.leases.load(ctx, a.name)
	if errors.Is(err, errNotFound) {
		c.begin(ctx, m, a, rec)
		return
	}
	if isUnreadable(err) && c.late(a) {
		c.reject(ctx, m, a.replyTo, errLate, nil)
		return
	}
	if err != nil {
		c.transient(m, err)
		return
	}
	c.resume(ctx, m, a, rec)
}

// begin makes a new lease. What it finds at the key, if anything, is an ended
// one.
func (c *Consumer) begin(ctx context.Context, m *inbound, a ask, old held) {
	if c.late(a) {
		c.reject(ctx, m, a.replyTo, messages.Errorf(messages.CodeDeadlineExceeded, "the deadline had passed before the lease was begun; repeat the request with a later one"), nil)
		return
	}
	if c.reserve.isSpent() {
		c.refuse(ctx, m, a, errNoRoom)
		return
	}
	d, err := c.secrets.cached(ctx, a.name.Secret)
	if err != nil {
		c.refuse(ctx, m, a, err)
		return
	}
	plan, err := c.plan(ctx, a, d)
	if err != nil {
		c.refuse(ctx, m, a, err)
		return
	}
	next := record.New(plan, c.cfg.Now(), c.cfg.Timing)
	if old.Attempt > 0 {
		if next, err = old.Again(plan, c.cfg.Now(), c.cfg.Timing); err != nil {
			c.transient(m, err)
			return
		}
	}
	rec, err := c.leases.save(ctx, next, old.revision)
	if errors.Is(err, errConflict) {
		c.lookAgain(ctx, m, a)
		return
	}
	if err != nil {
		c.transient(m, err)
		return
	}
	// The definition may have been changed or deleted meanwhile. Whoever deletes
	// it looks for records afterwards, so one of the two sees the other.
	fresh, err := c.secrets.fresh(ctx, a.name.Secret)
	switch {
	case messages.IsCode(err, messages.CodeSecretNotFound), messages.IsCode(err, messages.CodeSecretDeleting):
		c.fail(ctx, m, a, rec, messages.AsError(err), provider.LeftNothing)
		return
	case err != nil:
		c.transient(m, err)
		return
	case !reflect.DeepEqual(fresh.DynamicSecret, d.DynamicSecret):
		c.secrets.learn(d.Name, fresh)
		c.beginAgain(ctx, m, a, rec)
		return
	}
	c.provision(ctx, m, a, rec, false)
}

// beginAgain drops a lease of which nothing has been made yet, and begins it as
// the definition says now.
func (c *Consumer) beginAgain(ctx context.Context, m *inbound, a ask, rec held) {
	why := messages.Errorf(messages.CodeAbandoned, "the definition changed while the lease was begun")
	next, err := rec.Fail(why, true, c.cfg.Now(), c.cfg.Timing)
	if err != nil {
		c.transient(m, err)
		return
	}
	dropped, err := c.leases.save(ctx, next, rec.revision)
	if err != nil {
		c.transientOrConflict(m, err)
		return
	}
	c.begin(ctx, m, a, dropped)
}

// lookAgain goes on with the record that somebody else has written meanwhile.
func (c *Consumer) lookAgain(ctx context.Context, m *inbound, a ask) {
	rec, err := c.leases.load(ctx, a.name)
	if err != nil {
		c.transient(m, err)
		return
	}
	c.resume(ctx, m, a, rec)
}

// refuse rejects a request if the error is about it, or if there is no time to try
// again; else it comes again.
func (c *Consumer) refuse(ctx context.Context, m *inbound, a ask, err error) {
	var e *messages.Error
	var aws *provider.Error
	again := c.cfg.Now().Add(m.retryWait(c.cfg.RetryMin, c.cfg.RetryMax))
	inTime := a.deadline.IsZero() || again.Before(a.deadline)
	switch {
	case errors.Is(err, errNoRoom) && inTime:
		c.transient(m, err)
	case errors.Is(err, errNewerSecret) && m.delivered < newerTries:
		c.transient(m, err) // a newer broker may run beside this one
	case errors.As(err, &e):
		c.reject(ctx, m, a.replyTo, e, nil)
	case errors.As(err, &aws) && !inTime:
		c.reject(ctx, m, a.replyTo, aws.Public(), nil)
	default:
		c.transient(m, err)
	}
}

// newerTries is how often a request for a secret that only a newer broker can read is
// given back before it is refused.
const newerTries = 5

// resume goes on with a lease that was begun before: by this very message, which
// comes again because a worker died or stalled, or by another with the same
// idempotency key.
func (c *Consumer) resume(ctx context.Context, m *inbound, a ask, rec held) {
	if rec.Origin.Fingerprint != a.origin.Fingerprint {
		c.reject(ctx, m, a.replyTo, messages.Errorf(messages.CodeIdempotencyMismatch,
			"%s was used before with another body; use a new key, or the same body", messages.HeaderIdempotencyKey), nil)
		return
	}
	own := own(m, rec)
	busy := rec.State == messages.StateProvisioning && !own && c.cfg.Now().Before(rec.Due)
	// The record of a session that was cut off is needed until that has expired.
	ending := rec.WillBeRepeatable() && !rec.SessionDenied() && c.worthAnother(own, rec)
	switch {
	case (busy || ending) && c.late(a):
		c.reject(ctx, m, a.replyTo, errLate, nil)
	case busy:
		m.later(c.cfg.RetryMin / 4) // somebody is at it
	case ending:
		m.later(c.cfg.RetryMin) // until it is gone; then it begins anew
	case rec.State == messages.StateProvisioning:
		c.takeOver(ctx, m, a, rec)
	case rec.State == messages.StateActive && !rec.Settled():
		c.redeliver(ctx, m, a, rec)
	case rec.Repeatable() && c.worthAnother(own, rec):
		if err := c.tellOver(ctx, rec); err != nil {
			c.transient(m, err)
			return
		}
		c.begin(ctx, m, a, rec)
	case rec.Reason == messages.ReasonFailed && own:
		c.finishFailed(ctx, m, a, rec, provider.LeftUnknown)
	case rec.Reason == messages.ReasonFailed:
		c.answerFailed(ctx, m, a, rec)
	case rec.DeliveredAt.IsZero():
		c.reject(ctx, m, a.replyTo, messages.Errorf(messages.CodeLeaseEnded,
			"the lease ended (%s) before it was delivered", rec.Reason), rec.Lease())
	case own:
		m.done() // it has been delivered, and a worker died before it said so
	default:
		c.reject(ctx, m, a.replyTo, messages.Errorf(messages.CodeAlreadyDelivered,
			"the lease of this %s was delivered before; its secret key is not kept", messages.HeaderIdempotencyKey), rec.Lease())
	}
}

// own says whether a lease is the one that this very message began, or has taken
// over. The sequence alone does not tell: it begins anew with a new stream.
func own(m *inbound, rec held) bool {
	return rec.Origin.Sequence == m.sequence && rec.Origin.Stored.Equal(m.stored)
}

// worthAnother says whether a lease that came to nothing may be begun anew for
// this message. A repeat may always; the message that began it only if its
// requester never had anything: not after an answer or a delivery.
func (c *Consumer) worthAnother(own bool, rec held) bool {
	if !own {
		return true
	}
	if rec.Reason == messages.ReasonFailed {
		return rec.Failure != nil && rec.Failure.Code == messages.CodeAbandoned
	}
	return rec.DeliveredAt.IsZero()
}

// redeliver sends a finished lease's key, unless nobody waits for it any more.
func (c *Consumer) redeliver(ctx context.Context, m *inbound, a ask, rec held) {
	why := errLate
	if !c.cfg.Now().Before(rec.ExpiresAt) {
		why = messages.Errorf(messages.CodeLeaseEnded, "the lease ended before it could be delivered")
	} else if !c.late(a) {
		m.outcome = OutcomeIssued
		c.deliver(ctx, m, a, rec, nil)
		return
	}
	if !own(m, rec) {
		c.reject(ctx, m, a.replyTo, why, nil)
		return
	}
	if !rec.DeliveredAt.IsZero() {
		m.done() // it was delivered, and waits for its confirmation
		return
	}
	if c.confirmedUnread(ctx, m, rec) {
		return // it was delivered, and this is only late
	}
	if err := c.reply(a.replyTo, messages.ErrorReply(why, rec.Lease())); err != nil {
		c.transient(m, err)
		return
	}
	c.giveUp(ctx, m, rec)
}

var errLate = messages.Errorf(messages.CodeDeadlineExceeded, "the deadline passed before the lease could be delivered")

// takeOver continues a lease that was begun and not finished.
func (c *Consumer) takeOver(ctx context.Context, m *inbound, a ask, rec held) {
	next, err := rec.TakeOver(a.origin, c.cfg.Now(), c.cfg.Timing)
	if err != nil {
		c.transient(m, err)
		return
	}
	taken, err := c.leases.save(ctx, next, rec.revision)
	if errors.Is(err, errConflict) {
		m.later(c.cfg.RetryMin / 4)
		return
	}
	if err != nil {
		c.transient(m, err)
		return
	}
	m.log.Info().Int("attempt", taken.Attempt).Msg("taken over")
	if c.late(a) {
		left := provider.LeftUnknown
		if rec.NothingMade {
			left = provider.LeftNothing
		}
		c.fail(ctx, m, a, taken, messages.Errorf(messages.CodeDeadlineExceeded, "the deadline passed before the lease was made"), left)
		return
	}
	c.provision(ctx, m, a, taken, !rec.NothingMade)
}

// late says whether nobody waits for the lease any more.
func (c *Consumer) late(a ask) bool {
	return !a.deadline.IsZero() && !c.cfg.Now().Before(a.deadline)
}

// plan works out the lease that a request asks for. An error about the request
// is a [messages.Error].
func (c *Consumer) plan(ctx context.Context, a ask, d recipe) (record.Plan, error) {
	if d.RequireSealed && a.request.XKey == "" {
		return record.Plan{}, messages.Errorf(messages.CodeSealedRequired, "%s gives sealed credentials only: send an xkey", d.Name)
	}
	if d.RequireConfirm && !a.request.Confirm {
		return record.Plan{}, messages.Errorf(messages.CodeConfirmRequired, "%s wants deliveries confirmed: send \"confirm\": true and answer the delivery", d.Name)
	}
	ttl, err := d.ResolveTTL(a.request.TTL, c.cfg.MinTTL)
	if err != nil {
		return record.Plan{}, err
	}
	if err := c.checkLimits(d.DynamicSecret, a.name); err != nil {
		return record.Plan{}, err
	}
	if err := c.admit(d.DynamicSecret, a); err != nil {
		return record.Plan{}, err
	}
	username, err := c.username(d, a.name)
	if err != nil {
		return record.Plan{}, err
	}
	conn := provider.ConnectionOf(d.DynamicSecret, c.cfg.ProjectID)
	if err := c.connections.keep(ctx, conn); err != nil {
		return record.Plan{}, final(err)
	}
	if err := c.connections.use(ctx, conn.Name, d.AWS.Path); err != nil {
		return record.Plan{}, err
	}
	return record.Plan{
		Name: a.name, Origin: a.origin, Request: a.request, Connection: conn.Name, Region: d.AWS.Region,
		User: user(d.DynamicSecret, username), TTL: ttl, DefaultTTL: d.DefaultTTL, MaxTTL: d.MaxTTL,
	}, nil
}

// final makes an error of the provider's the requester's, unless it passes without
// a person. Of credentials that AWS does not accept it had better hear at once.
func final(err error) error {
	var e *provider.Error
	if errors.As(err, &e) && (e.Kind == provider.Denied || e.Kind == provider.Rejected || e.Unauthenticated) {
		return e.Public()
	}
	return err
}

// user is what a definition makes: an IAM user, or a session of a role.
func user(d messages.DynamicSecret, name string) record.User {
	return record.User{
		Name: name, Path: d.AWS.Path, Boundary: d.AWS.PermissionsBoundary, Groups: d.AWS.Groups,
		ManagedPolicies: d.AWS.ManagedPolicies, InlinePolicy: []byte(d.AWS.InlinePolicy), Tags: d.Tags, HardExpiry: d.HardExpiry,
		Role: d.AWS.RoleARN, ExternalID: d.AWS.ExternalID, DenyOnRevoke: d.AWS.DenyOnRevoke,
	}
}

// checkLimits says whether there may be one more lease. The numbers are a moment
// old: what all replicas have in hand meanwhile may come on top of the limit.
func (c *Consumer) checkLimits(d messages.DynamicSecret, name messages.LeaseName) error {
	if d.MaxLeases == 0 && d.MaxLeasesPerIdentity == 0 {
		return nil
	}
	mine, all, known := c.cfg.Live(name.Identity, name.Secret)
	switch {
	case !known:
		return errUncounted
	case d.MaxLeasesPerIdentity > 0 && mine >= d.MaxLeasesPerIdentity:
		return messages.Errorf(messages.CodeLimitExceeded, "%s has %d leases of %s, the limit is %d; revoke one, or ask again when one has ended",
			name.Identity, mine, name.Secret, d.MaxLeasesPerIdentity).After(limitPause)
	case d.MaxLeases > 0 && all >= d.MaxLeases:
		return messages.Errorf(messages.CodeLimitExceeded, "there are %d leases of %s, the limit is %d; ask again when one has ended",
			all, name.Secret, d.MaxLeases).After(limitPause)
	}
	return nil
}

func (c *Consumer) username(d recipe, name messages.LeaseName) (string, error) {
	t, err := d.names()
	if err != nil {
		return "", messages.Errorf(messages.CodeInvalidSecret, "username_template: %s", err)
	}
	username, err := t.Render(username.Data{
		Identity: name.Identity, Secret: name.Secret, Type: string(d.AWS.CredentialType), Now: c.cfg.Now(), Rand: c.cfg.Rand,
	})
	if err != nil {
		return "", messages.Errorf(messages.CodeInvalidSecret, "username_template: %s", err)
	}
	return username, nil
}
