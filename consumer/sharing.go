package consumer

import (
	"context"

	"golang.org/x/sync/singleflight"
)

// sharing has those who want the same done at about the same time have it done once.
// Each gets a run that began after he asked: who asks while it is being done has the
// next run, with all others who ask until that one begins. The zero value is ready.
type sharing struct {
	flights singleflight.Group
	turns   turns // of the runs of one thing
}

// do runs f for everybody who wants what key names, with a context that has the values
// of one of theirs. The error is f's, or that of ctx where it ends first.
func (s *sharing) do(ctx context.Context, key string, f func(context.Context) (any, error)) (any, error) {
	flight := s.flights.DoChan(key, func() (any, error) {
		run := context.WithoutCancel(ctx)
		done, err := s.turns.take(run, key)
		if err != nil {
			return nil, err
		}
		defer done()
		s.flights.Forget(key) // from here on it would be too late to join
		return f(run)
	})
	select {
	case r := <-flight:
		return r.Val, r.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
