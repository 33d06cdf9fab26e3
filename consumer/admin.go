package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
)

// adminTimeout is how long an operator's request may take: a check of a definition
// takes the longest.
const adminTimeout = 100 * time.Second

// maxAdmin is how many requests of operators one replica handles at once.
const maxAdmin = 64

// openAdmin offers what operators do as a NATS micro service of its own, for the
// broker's account alone.
func (c *Consumer) openAdmin() (micro.Service, error) {
	n := c.cfg.Namespace
	svc, err := micro.AddService(c.cfg.Conn, micro.Config{
		Name: n.AdminService(), Version: doorVersion, Description: "what operators of lessor do",
	})
	if err != nil {
		return nil, err
	}
	busy := make(chan struct{}, maxAdmin)
	for _, e := range []adminCommand{
		{"secret-put", n.AdminSecret(messages.AdminPut), true, c.adminPut},
		{"secret-get", n.AdminSecret(messages.AdminGet), false, c.adminGet},
		{"secret-list", n.AdminSecret(messages.AdminList), false, c.adminList},
		{endpointDelete, n.AdminSecret(messages.AdminDelete), true, c.adminDelete},
		{"secret-check", n.AdminSecret(messages.AdminCheck), true, c.adminCheck},
		{"secret-rotate-key", n.AdminSecret(messages.AdminRotateKey), true, c.adminRotateKey},
		{"lease-list", n.AdminLease(messages.AdminLeaseList), false, c.adminLeases},
		{"lease-retry", n.AdminLease(messages.AdminLeaseRetry), true, c.adminRetry},
		{"lease-revoke", n.AdminLease(messages.AdminLeaseRevoke), true, c.adminRevoke},
		{"sweep", n.AdminSweep(), true, c.adminSweep},
		{"key", n.AdminKey(), false, c.adminKey},
		{"restore", n.AdminRestore(), true, c.adminRestore},
	} {
		h := micro.HandlerFunc(func(r micro.Request) { c.answerAdmin(r, busy, e) })
		if err := svc.AddEndpoint(e.name, h, micro.WithEndpointSubject(e.subject)); err != nil {
			return svc, err
		}
		if err := svc.AddEndpoint(e.name+"-as", h, micro.WithEndpointSubject(n.AdminAs("*", e.subject))); err != nil {
			return svc, err
		}
	}
	return svc, nil
}

// answerAdmin handles an operator's request beside the others.
func (c *Consumer) answerAdmin(r micro.Request, busy chan struct{}, cmd adminCommand) {
	by, err := c.operator(r)
	log := c.log.With().Str("admin", cmd.name).Str("by", by).Logger()
	if err := c.cfg.Namespace.CheckAdminReply(r.Reply()); err != nil {
		log.Warn().Err(err).Msg("an operator's request that nobody may be answered for")
		return
	}
	select {
	case busy <- struct{}{}:
	default:
		c.answer(r, messages.ErrorReply(messages.Errorf(messages.CodeUnavailable, "too many requests of operators at once; try again in a moment"), nil))
		return
	}
	entered := c.hall.enter(func() {
		defer func() { <-busy }()
		ctx, cancel := context.WithTimeout(c.base, adminTimeout)
		defer cancel()
		defer clear(r.Data()) // a definition's secret key may be in clear in it
		var reply messages.Reply
		if err == nil {
			reply, err = c.audited(ctx, cmd, r, by)
		}
		if err != nil {
			e := adminError(err)
			log.Warn().Err(e).AnErr("cause", e.Unwrap()).Msg("an operator's request failed")
			reply = messages.Reply{Kind: messages.KindError, Error: e, Check: reply.Check}
		}
		c.answer(r, reply)
	})
	if !entered {
		<-busy
		c.answer(r, messages.ErrorReply(messages.Errorf(messages.CodeUnavailable, "this broker is being stopped; try again"), nil))
	}
}

// endpointDelete is the endpoint that deletes dynamic secrets.
const endpointDelete = "secret-delete"

// operator is the name of the operator in a request's subject; "" where it has none.
func (c *Consumer) operator(r micro.Request) (string, error) {
	t := c.cfg.Namespace.Tokens(r.Subject(), 1)
	if len(t) < 2 || t[0] != "as" {
		return "", nil
	}
	if err := messages.CheckToken("operator", t[1]); err != nil {
		return "", err
	}
	return t[1], nil
}

// adminKey tells the key that a put's secret key is sealed for.
func (c *Consumer) adminKey(_ context.Context, r micro.Request) (messages.Reply, error) {
	return messages.Reply{Kind: messages.KindKey, Key: c.cfg.Keys.PublicKeys()[0]}, messages.DecodeEmpty(r.Data())
}

// adminError is an error as an operator sees it: with AWS's answer, where there is
// one, and worth another try where it is NATS that did not answer.
func adminError(err error) *messages.Error {
	var own *messages.Error
	var aws *provider.Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &aws):
		return aws.ForOperators()
	case mayPass(err):
		return messages.Errorf(messages.CodeUnavailable, "NATS did not answer the broker in time; some of it may be done: look, and try again").Because(err)
	}
	return messages.AsError(err)
}

// adminPut stores a definition, and tries it out before unless that is not wanted.
func (c *Consumer) adminPut(ctx context.Context, r micro.Request) (messages.Reply, error) {
	p, err := messages.DecodeSecretPut(r.Data())
	if err != nil {
		return messages.Reply{}, err
	}
	if p, err = c.cfg.Keys.Unseal(p); err != nil {
		return messages.Reply{}, err
	}
	d := p.Definition
	if err := c.secrets.check(d); err != nil {
		return messages.Reply{}, err
	}
	var answer messages.Reply
	if !p.NoCheck {
		if err := c.secrets.couldPut(ctx, d, p.Revision); err != nil {
			return messages.Reply{}, err
		}
		check, err := c.check(ctx, d)
		if err != nil {
			return messages.Reply{}, err
		}
		answer.Check = &check
		if !check.OK {
			return answer, messages.Errorf(messages.CodeCheckFailed, "%s does not work at AWS, and was not stored", d.Name)
		}
	}
	changed, err := c.secrets.put(ctx, d, "", p.Revision)
	if err != nil {
		return answer, err
	}
	info, err := c.secrets.info(ctx, d.Name)
	if err != nil {
		return answer, err
	}
	info.Changed = changed
	c.log.Info().Str("secret", d.Name).Bool("changed", changed).Uint64("revision", info.Revision).Msg("dynamic secret")
	answer.Kind, answer.Secret = messages.KindSecret, &info
	return answer, nil
}

func (c *Consumer) adminGet(ctx context.Context, r micro.Request) (messages.Reply, error) {
	o, err := messages.DecodeSecretRequest(messages.AdminGet, r.Data())
	if err != nil {
		return messages.Reply{}, err
	}
	info, err := c.secrets.info(ctx, o.Name)
	return messages.Reply{Kind: messages.KindSecret, Secret: &info}, err
}

func (c *Consumer) adminList(ctx context.Context, r micro.Request) (messages.Reply, error) {
	if err := messages.DecodeEmpty(r.Data()); err != nil {
		return messages.Reply{}, err
	}
	all, err := c.secrets.all(ctx)
	return messages.Reply{Kind: messages.KindSecrets, Secrets: all}, err
}

func (c *Consumer) adminDelete(ctx context.Context, r micro.Request) (messages.Reply, error) {
	o, err := messages.DecodeSecretRequest(messages.AdminDelete, r.Data())
	if err != nil {
		return messages.Reply{}, err
	}
	d, err := c.deleteSecret(ctx, o)
	if err != nil {
		return messages.Reply{}, err
	}
	return messages.Reply{Kind: messages.KindDeletion, Deletion: &d}, nil
}

func (c *Consumer) adminCheck(ctx context.Context, r micro.Request) (messages.Reply, error) {
	o, err := messages.DecodeSecretRequest(messages.AdminCheck, r.Data())
	if err != nil {
		return messages.Reply{}, err
	}
	d, err := c.secrets.fresh(ctx, o.Name)
	if err != nil {
		return messages.Reply{}, err
	}
	check, err := c.check(ctx, d.DynamicSecret)
	if err != nil {
		return messages.Reply{}, err
	}
	return messages.Reply{Kind: messages.KindCheck, Check: &check}, nil
}

func (c *Consumer) adminRotateKey(ctx context.Context, r micro.Request) (messages.Reply, error) {
	o, err := messages.DecodeSecretRequest(messages.AdminRotateKey, r.Data())
	if err != nil {
		return messages.Reply{}, err
	}
	d, err := c.secrets.fresh(ctx, o.Name)
	if err != nil {
		return messages.Reply{}, err
	}
	if err := c.connections.rotate(ctx, provider.ConnectionOf(d.DynamicSecret, c.cfg.ProjectID).Name, c.cfg); err != nil {
		return messages.Reply{}, err
	}
	info, err := c.secrets.info(ctx, o.Name)
	return messages.Reply{Kind: messages.KindSecret, Secret: &info}, err
}

func (c *Consumer) adminSweep(ctx context.Context, r micro.Request) (messages.Reply, error) {
	o, err := messages.DecodeSweepCommand(r.Data())
	if err != nil {
		return messages.Reply{}, err
	}
	sweeps, err := c.sweepNow(ctx, o.Apply)
	return messages.Reply{Kind: messages.KindSweep, Sweeps: sweeps}, err
}
