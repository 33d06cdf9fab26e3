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

// adminTimeout is the default timeout of operators' commands. A check makes every call
// that a lease needs, and AWS needs some time to accept a new key.
const adminTimeout = 2 * time.Minute

// AdminOptions configure an [Admin].
type AdminOptions struct {
	// Namespace is the namespace of the installation. The zero value has the prefix
	// "lessor".
	Namespace messages.Namespace
	// Operator is the operator's name, one token. NATS must allow the connection to
	// publish on lessor.admin.as.<operator>.>. Without a name the connection must be
	// allowed lessor.admin.>.
	Operator string
	// Timeout is how long a call waits for its reply if its context has no deadline;
	// 0 is 2m.
	Timeout time.Duration
	// Resend is how long an idempotent call waits for a reply before it sends its
	// message again; 0 is 15s.
	Resend time.Duration
}

// Admin sends an operator's commands to a broker. It may be used by several goroutines.
type Admin struct {
	c  *Client // without identity
	as string
}

// NewAdmin returns an operator's client on the connection, which must be to the
// broker's own account. The caller must close the connection. NewAdmin returns an error
// if nc is nil or the operator's name is not valid.
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

// PutResult is the result of a put.
type PutResult struct {
	Secret messages.SecretInfo
	// Check is the result of the dry run at AWS. It is nil if there was none.
	Check *messages.SecretCheck
}

// PutSecret stores a definition if its dry run at AWS succeeds. The code of the error may
// be invalid_secret, revision_mismatch, secret_from_file, secret_deleting or
// check_failed. With check_failed nothing is stored, and the result has the check.
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

// sealed checks a put and seals the definition's secret key for the broker, so that NATS
// never has it in clear.
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

// brokerKey returns the curve public key of the brokers.
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
	return secretOf(a.secretRequest(ctx, messages.AdminGet, messages.SecretRequest{Name: name}))
}

// Secrets returns all dynamic secrets.
func (a *Admin) Secrets(ctx context.Context) ([]messages.SecretInfo, error) {
	reply, err := a.repeatedly(ctx, messages.AdminList, nil)
	if err == nil {
		err = expect(reply, messages.KindSecrets)
	}
	return reply.Secrets, err
}

// DeleteSecret starts or continues the deletion of a dynamic secret and returns its
// progress. The broker revokes the leases and then removes the definition; with force it
// removes the definition at once. The caller repeats the call, about once a second, until
// Done is true.
func (a *Admin) DeleteSecret(ctx context.Context, name string, force bool) (messages.SecretDeletion, error) {
	reply, err := a.secretRequest(ctx, messages.AdminDelete, messages.SecretRequest{Name: name, Force: force})
	if err == nil {
		err = expect(reply, messages.KindDeletion)
	}
	if err != nil {
		return messages.SecretDeletion{}, err
	}
	return *reply.Deletion, nil
}

// CheckSecret makes a dry run of a dynamic secret at AWS. If the dry run fails, OK is
// false in the result, and the error is nil.
func (a *Admin) CheckSecret(ctx context.Context, name string) (messages.SecretCheck, error) {
	reply, err := a.secretRequest(ctx, messages.AdminCheck, messages.SecretRequest{Name: name})
	if err != nil {
		return messages.SecretCheck{}, err
	}
	var check messages.SecretCheck
	if reply.Check != nil {
		check = *reply.Check
	}
	return check, expect(reply, messages.KindCheck)
}

// RotateKey replaces the access key with which the broker authenticates for a dynamic
// secret of the method access_key, and deletes the old key. The broker continues if the
// context ends first, so look at the secret before repeating the call.
func (a *Admin) RotateKey(ctx context.Context, name string) (messages.SecretInfo, error) {
	return secretOf(a.secretRequest(ctx, messages.AdminRotateKey, messages.SecretRequest{Name: name}))
}

// Sweep compares every AWS account with the leases and removes orphans. It removes a
// large number of orphans only with apply.
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

// Restore returns the state of the restore guard: what would end after the lease bucket
// was restored from a backup. With apply it lifts the guard.
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

// Leases returns a page of leases of any identity, and the After of the next page, which
// is "" after the last.
func (a *Admin) Leases(ctx context.Context, q messages.LeaseQuery) (page []messages.Lease, next string, err error) {
	reply, err := a.leaseMessage(ctx, messages.AdminLeaseList, q)
	if err == nil {
		err = expect(reply, messages.KindLeases)
	}
	return reply.Leases, reply.Next, err
}

// Unreadable returns at most 50 records of the lease bucket that the broker can't read,
// because they are damaged or of a newer version. Identity and Secret of the query select
// among them.
func (a *Admin) Unreadable(ctx context.Context, q messages.LeaseQuery) ([]messages.UnreadableRecord, error) {
	q.ListRequest = messages.ListRequest{Secret: q.Secret, Limit: 1}
	reply, err := a.leaseMessage(ctx, messages.AdminLeaseList, q)
	if err == nil {
		err = expect(reply, messages.KindLeases)
	}
	return reply.Unreadable, err
}

// RetryLeases retries the failed teardown of one lease, of an identity's or a secret's
// leases, or of all, and returns their number. It does not wait for the teardowns.
func (a *Admin) RetryLeases(ctx context.Context, c messages.LeaseCommand) (int, error) {
	return accepted(a.leaseMessage(ctx, messages.AdminLeaseRetry, c))
}

// RevokeLeases revokes one lease, or an identity's or a secret's leases, and returns
// their number. It does not wait for the teardowns.
func (a *Admin) RevokeLeases(ctx context.Context, c messages.LeaseCommand) (int, error) {
	return accepted(a.leaseMessage(ctx, messages.AdminLeaseRevoke, c))
}

// GiveUpLease drops the record of a lease that can't be revoked. Its user may remain in
// AWS; the sweep continues to look for it.
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

// leaseMessage sends a query or command about leases.
func (a *Admin) leaseMessage(ctx context.Context, v messages.AdminVerb, message any) (messages.Reply, error) {
	body, err := json.Marshal(message)
	if err != nil {
		return messages.Reply{}, fmt.Errorf("write the message for %s: %w", v, err)
	}
	return a.once(ctx, a.c.o.Namespace.AdminLease(v), body)
}

// accepted returns the number of leases in the reply to a lease command.
func accepted(reply messages.Reply, err error) (int, error) {
	if err == nil {
		err = expect(reply, messages.KindAccepted)
	}
	if err != nil {
		return 0, err
	}
	return reply.Accepted.Leases, nil
}

// secretOf returns the dynamic secret in a reply.
func secretOf(reply messages.Reply, err error) (messages.SecretInfo, error) {
	if err == nil {
		err = expect(reply, messages.KindSecret)
	}
	if err != nil {
		return messages.SecretInfo{}, err
	}
	return *reply.Secret, nil
}

// secretRequest sends a request about one dynamic secret.
func (a *Admin) secretRequest(ctx context.Context, v messages.AdminVerb, r messages.SecretRequest) (messages.Reply, error) {
	body, err := json.Marshal(r)
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

// repeatedly sends an idempotent message.
func (a *Admin) repeatedly(ctx context.Context, v messages.AdminVerb, body []byte) (messages.Reply, error) {
	ctx, cancel := a.c.within(ctx, 0)
	defer cancel()
	return a.exchange(ctx, a.c.o.Namespace.AdminSecret(v), body, a.c.o.Resend)
}

// once sends a message that takes the broker some time and is not idempotent: the second
// of two puts would find another revision, and the second of two rotations would make
// another key.
func (a *Admin) once(ctx context.Context, subject string, body []byte) (messages.Reply, error) {
	ctx, cancel := a.c.within(ctx, 0)
	defer cancel()
	end, _ := ctx.Deadline() // within has set one
	return a.exchange(ctx, subject, body, time.Until(end))
}

// exchange sends a message on the subject, in the form that names the operator.
func (a *Admin) exchange(ctx context.Context, subject string, body []byte, resend time.Duration) (messages.Reply, error) {
	if a.as != "" {
		subject = a.c.o.Namespace.AdminAs(a.as, subject)
	}
	m := nats.NewMsg(subject)
	m.Data = body
	got, err := a.c.exchange(ctx, m, resend)
	return got.reply, err
}
