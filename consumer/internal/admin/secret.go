package admin

import (
	"context"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider"
)

// secretRequest is the decoder of a request about one dynamic secret.
func secretRequest(v messages.AdminVerb) func([]byte) (messages.SecretRequest, error) {
	return func(body []byte) (messages.SecretRequest, error) { return messages.DecodeSecretRequest(v, body) }
}

// putSecret stores a definition. Unless the operator asks for no check, it is tried out
// at AWS before.
func (s *Service) putSecret(ctx context.Context, p messages.SecretPut) (messages.Reply, error) {
	p, err := s.cfg.Keys.Unseal(p)
	if err != nil {
		return messages.Reply{}, err
	}
	d := p.Definition
	if err := s.cfg.Secrets.Check(d); err != nil {
		return messages.Reply{}, err
	}
	var reply messages.Reply
	if !p.NoCheck {
		if err := s.cfg.Secrets.CouldPut(ctx, d, p.Revision); err != nil {
			return messages.Reply{}, err
		}
		check, err := s.cfg.DryRun(ctx, d)
		if err != nil {
			return messages.Reply{}, err
		}
		reply.Check = &check
		if !check.OK {
			return reply, messages.Errorf(messages.CodeCheckFailed, "%s does not work at AWS, and was not stored", d.Name)
		}
	}
	changed, err := s.cfg.Secrets.PutAt(ctx, d, "", p.Revision)
	if err != nil {
		return reply, err
	}
	info, err := s.cfg.Secrets.Info(ctx, d.Name)
	if err != nil {
		return reply, err
	}
	info.Changed = changed
	s.cfg.Log.Info().Str("secret", d.Name).Bool("changed", changed).Uint64("revision", info.Revision).Msg("an operator put a dynamic secret")
	reply.Kind, reply.Secret = messages.KindSecret, &info
	return reply, nil
}

func (s *Service) getSecret(ctx context.Context, o messages.SecretRequest) (messages.Reply, error) {
	return s.secretReply(ctx, o.Name)
}

func (s *Service) secretReply(ctx context.Context, name string) (messages.Reply, error) {
	info, err := s.cfg.Secrets.Info(ctx, name)
	if err != nil {
		return messages.Reply{}, err
	}
	return messages.Reply{Kind: messages.KindSecret, Secret: &info}, nil
}

func (s *Service) listSecrets(ctx context.Context, _ struct{}) (messages.Reply, error) {
	all, err := s.cfg.Secrets.List(ctx)
	return messages.Reply{Kind: messages.KindSecrets, Secrets: all}, err
}

func (s *Service) deleteSecret(ctx context.Context, o messages.SecretRequest) (messages.Reply, error) {
	d, err := s.cfg.Secrets.Delete(ctx, o)
	if err != nil {
		return messages.Reply{}, err
	}
	return messages.Reply{Kind: messages.KindDeletion, Deletion: &d}, nil
}

// checkSecret tries a stored definition out at AWS.
func (s *Service) checkSecret(ctx context.Context, o messages.SecretRequest) (messages.Reply, error) {
	d, err := s.cfg.Secret(ctx, o.Name)
	if err != nil {
		return messages.Reply{}, err
	}
	check, err := s.cfg.DryRun(ctx, d)
	if err != nil {
		return messages.Reply{}, err
	}
	return messages.Reply{Kind: messages.KindCheck, Check: &check}, nil
}

// rotateKey rotates the access key of the connection that a definition names.
func (s *Service) rotateKey(ctx context.Context, o messages.SecretRequest) (messages.Reply, error) {
	d, err := s.cfg.Secret(ctx, o.Name)
	if err != nil {
		return messages.Reply{}, err
	}
	if err := s.cfg.RotateKey(ctx, provider.ConnectionOf(d, s.cfg.ExternalID).Name); err != nil {
		return messages.Reply{}, err
	}
	return s.secretReply(ctx, o.Name)
}
