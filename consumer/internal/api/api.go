package api

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/rs/zerolog"

	"github.com/lessorhq/lessor/consumer/internal/endpoint"
	"github.com/lessorhq/lessor/consumer/internal/queue"
	"github.com/lessorhq/lessor/consumer/internal/store"
	"github.com/lessorhq/lessor/messages"
)

// Outbox puts messages on the verbs' streams ([queue.Outbox]).
type Outbox interface {
	Publish(ctx context.Context, v messages.Verb, msg *nats.Msg) error
	PublishWhenFree(ctx context.Context, v messages.Verb, msg *nats.Msg) error
}

// Events emits the events about refused requests.
type Events interface {
	// Refused emits the event of a refused request, or counts it.
	Refused(ctx context.Context, name messages.LeaseName, occurrence string, data messages.EventData) error
	// CountRefusal counts a refusal that there is no event for.
	CountRefusal(identity string)
}

// Limits knows the limits of dynamic secrets.
type Limits interface {
	// WouldRefuse returns a [messages.Error] if the worker would refuse one more lease for a
	// limit now, and another error while that is not known. The ID of the name is empty.
	WouldRefuse(d messages.DynamicSecret, name messages.LeaseName) error
}

// Meter counts refusals.
type Meter interface {
	// Handled counts a request that is refused here, by its error's code.
	Handled(verb messages.Verb, outcome string, took time.Duration)
}

// Config is what the API needs. Every field must be set, except for Log.
type Config struct {
	Conn      *nats.Conn
	Namespace messages.Namespace
	Leases    *store.Leases
	Outbox    Outbox
	Events    Events
	Limits    Limits
	// Secret returns a dynamic secret; it may be a moment old.
	Secret func(ctx context.Context, name string) (messages.DynamicSecret, error)
	// CheckRequester returns an error if no requester may have that identity.
	CheckRequester func(identity string) error
	// Known reports that a lease was live a moment ago; false says nothing. It saves a
	// read of the bucket.
	Known func(messages.LeaseName) bool
	// Reserve is the free-space reserve: while it is spent there are no new leases.
	Reserve interface{ Spent() bool }
	// Health returns what is wrong with NATS, as far as it is known.
	Health   interface{ Err() error }
	Lifetime *queue.Lifetime
	Now      func() time.Time
	Log      zerolog.Logger
	Meter    Meter
}

// Service is the API of one replica.
type Service struct {
	cfg       Config
	replier   queue.Replier
	micro     micro.Service
	admission admission
	running   endpoint.Group
}

// handler handles a request. It returns the answer, or [workerAnswers].
type handler func(context.Context, apiRequest) (messages.Reply, error)

// workerAnswers is the zero reply: the request is on its stream, and the worker that
// handles it answers.
var workerAnswers messages.Reply

// Open starts the API.
func Open(cfg Config) (*Service, error) {
	s := &Service{cfg: cfg, replier: queue.Replier{Conn: cfg.Conn}}
	n := cfg.Namespace
	var endpoints []endpoint.Endpoint
	for _, e := range []struct {
		name, subject string
		handle        handler
	}{
		{"request", n.API("request", "*", "*"), decoded(messages.DecodeLeaseRequest, s.forwardRequest)},
		{"renew", n.API("renew", "*", "*", "*"), decoded(messages.DecodeRenewRequest, s.forwardRenewal)},
		{"revoke", n.API("revoke", "*", "*", "*"), decoded(messages.DecodeRevokeRequest, s.forwardRevocation)},
		{"get", n.API("get", "*", "*", "*"), decoded(decodeNothing, s.get)},
		{"list", n.API("list", "*"), decoded(messages.DecodeListRequest, s.list)},
	} {
		endpoints = append(endpoints, endpoint.Endpoint{Name: e.name, Subject: e.subject, Handle: func(r micro.Request) {
			s.serve(apiRequest{Request: r, endpoint: e.name, tokens: n.Tokens(r.Subject(), 2)}, e.handle)
		}})
	}
	var err error
	if s.micro, err = endpoint.Serve(cfg.Conn, n.Service(), "leases AWS IAM users", endpoints); err != nil {
		return nil, err
	}
	return s, nil
}

// decoded makes a handler of a body's decoder and a function that takes what it returns.
func decoded[T any](decode func([]byte) (T, error), handle func(context.Context, apiRequest, T) (messages.Reply, error)) handler {
	return func(ctx context.Context, r apiRequest) (messages.Reply, error) {
		body, err := decode(r.Data())
		if err != nil {
			return messages.Reply{}, err
		}
		return handle(ctx, r, body)
	}
}

func decodeNothing(data []byte) (struct{}, error) { return struct{}{}, messages.DecodeEmpty(data) }

// Stop receives no more requests. Those that were received are handled.
func (s *Service) Stop() { _ = s.micro.Stop() } // its subscriptions end with the connection anyway

// Wait returns when all requests that were received are handled. It is called after
// Stop; a request that is received later is refused.
func (s *Service) Wait() { s.running.Drain() }
