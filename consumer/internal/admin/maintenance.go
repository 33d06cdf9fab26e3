package admin

import (
	"context"

	"github.com/lessorhq/lessor/messages"
)

// sweep sweeps all accounts for orphans.
func (s *Service) sweep(ctx context.Context, o messages.SweepCommand) (messages.Reply, error) {
	sweeps, err := s.cfg.Sweeper.Run(ctx, o.Apply)
	return messages.Reply{Kind: messages.KindSweep, Sweeps: sweeps}, err
}

// restore reports what the restore guard blocks, or lifts it.
func (s *Service) restore(ctx context.Context, o messages.RestoreCommand) (messages.Reply, error) {
	run := s.cfg.Restorer.Report
	if o.Apply {
		run = s.cfg.Restorer.Apply
	}
	report, err := run(ctx)
	if err != nil {
		return messages.Reply{}, err
	}
	return messages.Reply{Kind: messages.KindRestore, Restore: &report}, nil
}

// sealingKey answers with the key that a put's secret key is sealed for.
func (s *Service) sealingKey(context.Context, struct{}) (messages.Reply, error) {
	return messages.Reply{Kind: messages.KindKey, Key: s.cfg.Keys.PublicKeys()[0]}, nil
}
