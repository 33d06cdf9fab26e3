package admin

import (
	"context"
	"io"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer/internal/endpoint"
	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
)

// Secrets are the dynamic secrets.
type Secrets interface {
	SecretReader
	SecretWriter
}

// SecretReader reads dynamic secrets.
type SecretReader interface {
	// Info returns a dynamic secret as operators see it, and List all of them.
	Info(ctx context.Context, name string) (messages.SecretInfo, error)
	List(ctx context.Context) ([]messages.SecretInfo, error)
	// Deleting returns the names of those that are being deleted, as far as it is known.
	Deleting() []string
}

// SecretWriter changes dynamic secrets.
type SecretWriter interface {
	// Check validates a definition without a call to AWS.
	Check(d messages.DynamicSecret) error
	// CouldPut returns why PutAt would refuse a valid definition, and keeps its
	// connection.
	CouldPut(ctx context.Context, d messages.DynamicSecret, revision *uint64) error
	// PutAt stores a definition if the stored one has that revision (nil: any; 0: there
	// must be none). It returns false if that very definition is stored already.
	PutAt(ctx context.Context, d messages.DynamicSecret, source string, revision *uint64) (changed bool, err error)
	// Delete begins or continues a deletion.
	Delete(ctx context.Context, o messages.SecretRequest) (messages.SecretDeletion, error)
}

// Events emits the events about commands.
type Events interface {
	Emit(ctx context.Context, name messages.LeaseName, t messages.EventType, occurrence string, data messages.EventData) error
	// MayEmitRefusal reports whether there is an event for one more refusal of an
	// identity now, and counts it if not.
	MayEmitRefusal(identity string) bool
}

// Sweeper sweeps all accounts for orphans; with apply it removes all of them.
type Sweeper interface {
	Run(ctx context.Context, apply bool) ([]messages.Sweep, error)
}

// Restorer reports what the restore guard blocks, and lifts it.
type Restorer interface {
	Report(context.Context) (messages.Restore, error)
	Apply(context.Context) (messages.Restore, error)
}

// Config is what the admin service needs. Every field must be set, except for Log and
// ExternalID.
type Config struct {
	Conn      *nats.Conn
	Namespace messages.Namespace
	Leases    *store.Leases
	Events    Events
	Secrets   Secrets
	// Secret returns a dynamic secret as the bucket's leader has it.
	Secret func(ctx context.Context, name string) (messages.DynamicSecret, error)
	// DryRun tries a definition out at AWS.
	DryRun func(ctx context.Context, d messages.DynamicSecret) (messages.SecretCheck, error)
	// RotateKey rotates the access key of a connection.
	RotateKey func(ctx context.Context, connection string) error
	// ExternalID is the external id for roles whose definition names none; "" is none.
	ExternalID string
	// GiveUp ends the record of a lease that could not be revoked.
	GiveUp func(ctx context.Context, name messages.LeaseName, reason string) (messages.Lease, error)
	// Revoke publishes a revocation by command; with wait it waits while an earlier
	// message about the lease is pending.
	Revoke   func(ctx context.Context, name messages.LeaseName, why messages.Reason, note string, wait bool) error
	Sweeper  Sweeper
	Restorer Restorer
	Keys     *messages.Keyring
	Lifetime *queue.Lifetime
	Rand     io.Reader // makes the ids of audited commands
	Log      zerolog.Logger
}

// Service is the admin service of one replica.
type Service struct {
	cfg      Config
	replier  queue.Replier
	micro    micro.Service
	slots    chan struct{} // one value for each command that is carried out
	commands endpoint.Group
}

// command is an endpoint of the service.
type command struct {
	name, subject string
	// changes says that the command changes something, so that it is audited before and
	// after.
	changes bool
	handle  handler
}

// handler carries a command out. Beside an error it may return a reply with the outcome
// of a dry run.
type handler func(ctx context.Context, body []byte) (messages.Reply, error)

// secretDelete is the endpoint that deletes dynamic secrets.
const secretDelete = "secret-delete"

// Whether a command changes something.
const changing, reading = true, false

func (s *Service) endpoints() []command {
	n := s.cfg.Namespace
	return []command{
		{"secret-put", n.AdminSecret(messages.AdminPut), changing, decoded(messages.DecodeSecretPut, s.putSecret)},
		{"secret-get", n.AdminSecret(messages.AdminGet), reading, decoded(secretRequest(messages.AdminGet), s.getSecret)},
		{"secret-list", n.AdminSecret(messages.AdminList), reading, decoded(nothing, s.listSecrets)},
		{secretDelete, n.AdminSecret(messages.AdminDelete), changing, decoded(secretRequest(messages.AdminDelete), s.deleteSecret)},
		{"secret-check", n.AdminSecret(messages.AdminCheck), changing, decoded(secretRequest(messages.AdminCheck), s.checkSecret)},
		{"secret-rotate-key", n.AdminSecret(messages.AdminRotateKey), changing, decoded(secretRequest(messages.AdminRotateKey), s.rotateKey)},
		{"lease-list", n.AdminLease(messages.AdminLeaseList), reading, decoded(messages.DecodeLeaseQuery, s.listLeases)},
		{"lease-retry", n.AdminLease(messages.AdminLeaseRetry), changing, decoded(leaseCommand(messages.AdminLeaseRetry), s.retryLeases)},
		{"lease-revoke", n.AdminLease(messages.AdminLeaseRevoke), changing, decoded(leaseCommand(messages.AdminLeaseRevoke), s.revokeLeases)},
		{"sweep", n.AdminSweep(), changing, decoded(messages.DecodeSweepCommand, s.sweep)},
		{"restore", n.AdminRestore(), changing, decoded(messages.DecodeRestoreCommand, s.restore)},
		{"key", n.AdminKey(), reading, decoded(nothing, s.sealingKey)},
	}
}

// Open starts the admin service.
func Open(cfg Config) (*Service, error) {
	s := &Service{cfg: cfg, replier: queue.Replier{Conn: cfg.Conn}, slots: make(chan struct{}, maxCommands)}
	n := cfg.Namespace
	var endpoints []endpoint.Endpoint
	for _, c := range s.endpoints() {
		handle := func(r micro.Request) { s.serve(r, c) }
		endpoints = append(endpoints,
			endpoint.Endpoint{Name: c.name, Subject: c.subject, Handle: handle},
			endpoint.Endpoint{Name: c.name + "-as", Subject: n.AdminAs("*", c.subject), Handle: handle})
	}
	var err error
	if s.micro, err = endpoint.Serve(cfg.Conn, n.AdminService(), "what operators of lessor do", endpoints); err != nil {
		return nil, err
	}
	return s, nil
}

// decoded makes a handler of a body's decoder and a function that takes what it returns.
func decoded[T any](decode func([]byte) (T, error), handle func(context.Context, T) (messages.Reply, error)) handler {
	return func(ctx context.Context, body []byte) (messages.Reply, error) {
		v, err := decode(body)
		if err != nil {
			return messages.Reply{}, err
		}
		return handle(ctx, v)
	}
}

func nothing(body []byte) (struct{}, error) { return struct{}{}, messages.DecodeEmpty(body) }

// Stop receives no more commands. Those that were received are carried out.
func (s *Service) Stop() { _ = s.micro.Stop() } // its subscriptions end with the connection anyway

// Wait returns when all commands that were received are carried out. It is called after
// Stop; a command that is received later is refused.
func (s *Service) Wait() { s.commands.Drain() }
