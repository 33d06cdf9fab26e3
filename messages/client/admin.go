package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/lessorhq/lessor/messages"
)

// adminTimeout is how long an operator waits: a check makes every call that a
// lease needs, and a new key takes AWS a while to accept.
const adminTimeout = 2 * time.Minute

// AdminOptions say which installation is meant, and how long to wait for it.
type AdminOptions struct {
	// Namespace is the installation's; the zero value is that of the prefix
	// "lessor".
	Namespace messages.Namespace
	// Operator is the operator's name, one token; NATS must allow the connection
	// lessor.admin.as.<operator>.>. "" is somebody who may publish on lessor.admin.>.
	Operator string
	// Timeout is how long a call waits for its answer where its context has no
	// deadline; 0 is 2m.
	Timeout time.Duration
	// Resend is how long a message that may arrive twice stays unanswered before
	// it is sent again; 0 is 15s.
	Resend time.Duration
}

// Admin does an operator's work at a broker. It may be used by many goroutines.
type Admin struct {
	c  *Client // of no identity
	as string
}

// NewAdmin returns an operator's client on the connection, which stays the
// caller's to close and must be to the broker's own account.
func NewAdmin(nc *nats.Conn, o AdminOptions) (*Admin, error) {
	if nc == nil {
		return nil, errors.New("a client needs a NATS connection")
	}
	if o.Timeout == 0 {
		o.Timeout = adminTimeout
	}
	if o.Operator != "" {
		if err := messages.CheckToken("operator", o.Operator); err != nil {
			return nil, err
		}
	}
	return &Admin{as: o.Operator, c: &Client{nc: nc, o: Options{Namespace: o.Namespace, Timeout: o.Timeout, Resend: o.Resend}.withDefaults()}}, nil
}

// PutResult is what came of a put.
type PutResult struct {
	Secret messages.SecretInfo
	// Check is what came of trying the definition out at AWS; nil where it was not.
	Check *messages.SecretCheck
}

// PutSecret stores a definition, where the broker finds that it works at AWS. The
// code of the error may be invalid_secret, revision_mismatch, secret_from_file,
// secret_deleting or check_failed; with the last, nothing was stored, and the
// result has the check.
func (a *Admin) PutSecret(ctx context.Context, p messages.SecretPut) (PutResult, error) {
	p, err := a.sealed(ctx, p)
	if err != nil {
		return PutResult{}, err
	}
	body, err := p.Encode()
	if err != nil {
		return PutResult{}, fmt.Errorf("write the definition: %w", err)
	}
	reply, err := a.once(ctx, a.c.o.Namespace.AdminSecret(messages.AdminPut), body)
	if err != nil {
		return PutResult{}, err
	}
	stored := PutResult{Check: reply.Check}
	if reply.Secret != nil {
		stored.Secret = *reply.Secret
	}
	return stored, expect(reply, messages.KindSecret)
}

// sealed is a put that is in order, with the definition's secret key sealed for the
// broker, so that it is not in clear in NATS.
func (a *Admin) sealed(ctx context.Context, p messages.SecretPut) (messages.SecretPut, error) {
	body, err := p.Encode()
	if err != nil {
		return p, fmt.Errorf("write the definition: %w", err)
	}
	defer clear(body)
	if _, err := messages.DecodeSecretPut(body); err != nil {
		return p, err
	}
	if p.Definition.AWS.Auth.SecretAccessKey.IsZero() {
		return p, nil
	}
	key, err := a.brokerKey(ctx)
	if err != nil {
		return p, err
	}
	return p.Seal(key)
}

// brokerKey asks for the curve public key of the brokers.
func (a *Admin) brokerKey(ctx context.Context) (string, error) {
	ctx, cancel := a.c.within(ctx, 0)
	defer cancel()
	reply, err := a.exchange(ctx, a.c.o.Namespace.AdminKey(), nil, a.c.o.Resend)
	if err == nil {
		err = expect(reply, messages.KindKey)
	}
	return reply.Key, err
}

// Secret returns a dynamic secret, without its secret key.
func (a *Admin) Secret(ctx context.Context, name string) (messages.SecretInfo, error) {
	return secretOf(a.order(ctx, messages.AdminGet, messages.SecretRequest{Name: name}))
}

// Secrets returns all dynamic secrets.
func (a *Admin) Secrets(ctx context.Context) ([]messages.SecretInfo, error) {
	reply, err := a.repeatedly(ctx, messages.AdminList, nil)
	if err == nil {
		err = expect(reply, messages.KindSecrets)
	}
	return reply.Secrets, err
}

// DeleteSecret begins the deletion of a dynamic secret or goes on with it, and
// tells how far it has come. Its leases are revoked; it is gone when they are, and
// with force at once. Repeat the call, once a second or so, until it is done.
func (a *Admin) DeleteSecret(ctx context.Context, name string, force bool) (messages.SecretDeletion, error) {
	reply, err := a.order(ctx, messages.AdminDelete, messages.SecretRequest{Name: name, Force: force})
	if err == nil {
		err = expect(reply, messages.KindDeletion)
	}
	if err != nil {
		return messages.SecretDeletion{}, err
	}
	return *reply.Deletion, nil
}

// CheckSecret tries a dynamic secret out at AWS. That it does not work is no
// error, but OK false in the result.
func (a *Admin) CheckSecret(ctx context.Context, name string) (messages.SecretCheck, error) {
	reply, err := a.order(ctx, messages.AdminCheck, messages.SecretRequest{Name: name})
	if err != nil {
		return messages.SecretCheck{}, err
	}
	var check messages.SecretCheck
	if reply.Check != nil {
		check = *reply.Check
	}
	return check, expect(reply, messages.KindCheck)
}

// RotateKey gives the broker's own user, with which it authenticates for a dynamic
// secret of the method access_key, a new key, and deletes the old one. Where it
// gives up waiting, the broker goes on; look at the secret before you repeat it.
func (a *Admin) RotateKey(ctx context.Context, name string) (messages.SecretInfo, error) {
	return secretOf(a.order(ctx, messages.AdminRotateKey, messages.SecretRequest{Name: name}))
}

// Sweep compares every AWS account with the leases now and removes the users that no
// lease knows. Masses of them it removes only with apply.
func (a *Admin) Sweep(ctx context.Context, apply bool) ([]messages.Sweep, error) {
	body, err := json.Marshal(messages.SweepCommand{Apply: apply})
	if err != nil {
		return nil, fmt.Errorf("write the message for sweep: %w", err)
	}
	reply, err := a.once(ctx, a.c.o.Namespace.AdminSweep(), body)
	if err == nil {
		err = expect(reply, messages.KindSweep)
	}
	return reply.Sweeps, err
}

// Restore tells what a lease bucket that was restored from a backup would end. With
// apply it has that done.
func (a *Admin) Restore(ctx context.Context, apply bool) (messages.Restore, error) {
	body, err := json.Marshal(messages.RestoreCommand{Apply: apply})
	if err != nil {
		return messages.Restore{}, fmt.Errorf("write the message for restore: %w", err)
	}
	reply, err := a.once(ctx, a.c.o.Namespace.AdminRestore(), body)
	if err == nil {
		err = expect(reply, messages.KindRestore)
	}
	if err != nil {
		return messages.Restore{}, err
	}
	return *reply.Restore, nil
}

// Leases returns a page of leases, whosever they are, and the After of the next; ""
// is the last.
func (a *Admin) Leases(ctx context.Context, q messages.LeaseQuery) (page []messages.Lease, next string, err error) {
	reply, err := a.leaseMessage(ctx, messages.AdminLeaseList, q)
	if err == nil {
		err = expect(reply, messages.KindLeases)
	}
	return reply.Leases, reply.Next, err
}

// Unreadable returns what stands in the lease bucket and can't be read, at most 50: it
// is damaged, or a newer broker's. The query's Identity and Secret narrow it down.
func (a *Admin) Unreadable(ctx context.Context, q messages.LeaseQuery) ([]messages.UnreadableRecord, error) {
	q.ListRequest = messages.ListRequest{Secret: q.Secret, Limit: 1}
	reply, err := a.leaseMessage(ctx, messages.AdminLeaseList, q)
	if err == nil {
		err = expect(reply, messages.KindLeases)
	}
	return reply.Unreadable, err
}

// RetryLeases has leases tried again now that could not be revoked, and returns how
// many: one, an identity's, a secret's, or all.
func (a *Admin) RetryLeases(ctx context.Context, o messages.LeaseCommand) (int, error) {
	return ordered(a.leaseMessage(ctx, messages.AdminLeaseRetry, o))
}

// RevokeLeases has leases end, and returns how many: one, an identity's or a
// secret's. It does not wait for their end.
func (a *Admin) RevokeLeases(ctx context.Context, o messages.LeaseCommand) (int, error) {
	return ordered(a.leaseMessage(ctx, messages.AdminLeaseRevoke, o))
}

// GiveUpLease drops a lease that could not be revoked. Its user may be left: the
// brokers' sweep looks for it.
func (a *Admin) GiveUpLease(ctx context.Context, lease, reason string) (messages.Lease, error) {
	reply, err := a.leaseMessage(ctx, messages.AdminLeaseRevoke, messages.LeaseCommand{Lease: lease, Reason: reason, Force: true})
	if err == nil {
		err = expect(reply, messages.KindRevoked)
	}
	if err != nil {
		return messages.Lease{}, err
	}
	return *reply.Lease, nil
}

func (a *Admin) leaseMessage(ctx context.Context, v messages.AdminVerb, order any) (messages.Reply, error) {
	body, err := json.Marshal(order)
	if err != nil {
		return messages.Reply{}, fmt.Errorf("write the message for %s: %w", v, err)
	}
	return a.once(ctx, a.c.o.Namespace.AdminLease(v), body)
}

func ordered(reply messages.Reply, err error) (int, error) {
	if err == nil {
		err = expect(reply, messages.KindAccepted)
	}
	if err != nil {
		return 0, err
	}
	return reply.Accepted.Leases, nil
}

// secretOf is the secret in a reply that is to have one.
func secretOf(reply messages.Reply, err error) (messages.SecretInfo, error) {
	if err == nil {
		err = expect(reply, messages.KindSecret)
	}
	if err != nil {
		return messages.SecretInfo{}, err
	}
	return *reply.Secret, nil
}

// order sends a message about one dynamic secret.
func (a *Admin) order(ctx context.Context, v messages.AdminVerb, o messages.SecretRequest) (messages.Reply, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return messages.Reply{}, fmt.Errorf("write the message for %s: %w", v, err)
	}
	if _, err := messages.DecodeSecretRequest(v, body); err != nil {
		return messages.Reply{}, err
	}
	if v == messages.AdminCheck || v == messages.AdminRotateKey {
		return a.once(ctx, a.c.o.Namespace.AdminSecret(v), body)
	}
	return a.repeatedly(ctx, v, body)
}

// repeatedly sends a message that may arrive twice.
func (a *Admin) repeatedly(ctx context.Context, v messages.AdminVerb, body []byte) (messages.Reply, error) {
	ctx, cancel := a.c.within(ctx, 0)
	defer cancel()
	return a.exchange(ctx, a.c.o.Namespace.AdminSecret(v), body, a.c.o.Resend)
}

// once sends a message that may take the broker long and should not arrive twice:
// the second of two puts would find another revision than it expects, and the
// second of two rotations would make another key.
func (a *Admin) once(ctx context.Context, subject string, body []byte) (messages.Reply, error) {
	ctx, cancel := a.c.within(ctx, 0)
	defer cancel()
	end, _ := ctx.Deadline() // within has set one
	return a.exchange(ctx, subject, body, time.Until(end))
}

func (a *Admin) exchange(ctx context.Context, subject string, body []byte, resend time.Duration) (messages.Reply, error) {
	if a.as != "" {
		subject = a.c.o.Namespace.AdminAs(a.as, subject)
	}
	m := nats.NewMsg(subject)
	m.Data = body
	got, err := a.c.exchange(ctx, m, resend)
	return got.reply, err
}
