package scheduler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lessorhq/lessor/messages/record"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Bounds of a patrol.
const (
	// patrolRate is how fast it reads, in bits a second: about a thousand records.
	// What it costs does not grow with the number of leases; how long it takes does.
	patrolRate = 8 << 20
	// maxDoubts is how many keys are looked at again at a time.
	maxDoubts = 100
	// patrolTimeout is how long JetStream may take to answer.
	patrolTimeout = 5 * time.Second
	// maxBehind is how far the watch may be behind before it counts as broken.
	maxBehind = 20 * time.Second
)

// patrols compare the index with the bucket again and again, and close astray when they
// differ. The watch tells all that changes, so they should not: a patrol is for what
// the watch has not told, for a purge leaves nothing to tell of, and for a bucket that
// was restored.
func (s *Scheduler) patrols(ctx context.Context, made time.Time, astray chan<- struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(s.cfg.Patrol):
		}
		why, err := s.patrol(ctx, made)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.cfg.Log.Debug().Err(err).Msg("comparing the index with the bucket failed; trying again")
		case why != "":
			s.cfg.Log.Warn().Str("why", why).Msg("the index is not as the bucket: reading all leases again")
			close(astray)
			return
		default:
			s.cfg.Log.Debug().Msg("the index is as the bucket")
		}
	}
}

// lookAt asks for the state of the bucket's stream.
func (s *Scheduler) lookAt(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, patrolTimeout)
	defer cancel()
	stream, err := s.js.Stream(ctx, "KV_"+s.cfg.Namespace.LeaseBucket())
	if err != nil {
		return nil, err
	}
	return stream.CachedInfo(), nil
}

// patrol reads the bucket once, slowly, and says how the index differs from it; "" is
// not at all.
func (s *Scheduler) patrol(ctx context.Context, made time.Time) (why string, err error) {
	seen := s.revision.Load()
	now, err := s.lookAt(ctx)
	switch {
	case err != nil:
		return "", err
	case !now.Created.Equal(made):
		return "the bucket is another", nil
	case now.State.LastSeq < seen:
		return "the bucket has gone back", nil
	}
	number := s.index.beginPatrol()
	var doubts []doubt
	if now.State.Msgs > 0 {
		if doubts, err = s.walk(ctx, now.State.LastSeq, number); err != nil {
			return "", err
		}
	}
	for _, name := range s.index.unseen(number, now.State.LastSeq, maxDoubts) {
		doubts = append(doubts, doubt{name, "is gone from the bucket"})
	}
	return s.settle(ctx, doubts)
}

// doubt is a key at which index and bucket seemed to differ. Mostly its record has
// just changed.
type doubt struct{ key, how string }

// walk reads the bucket up to a revision, and marks in the index what it meets.
func (s *Scheduler) walk(ctx context.Context, last uint64, number uint16) (doubts []doubt, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	js, err := s.cfg.Conn.JetStream()
	if err != nil {
		return nil, err
	}
	prefix := "$KV." + s.cfg.Namespace.LeaseBucket() + "."
	met := make(chan *nats.Msg)
	sub, err := js.Subscribe(prefix+">", func(m *nats.Msg) {
		select {
		case met <- m:
		case <-ctx.Done():
		}
	}, nats.OrderedConsumer(), nats.BindStream("KV_"+s.cfg.Namespace.LeaseBucket()), nats.RateLimit(patrolRate), nats.Context(ctx))
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // ends with its context anyway
	if pending, err := sub.InitialConsumerPending(); err != nil || pending == 0 {
		return nil, err
	}
	silence := time.NewTimer(patrolTimeout)
	defer silence.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-silence.C:
			return nil, errors.New("the bucket is silent") // or the rest of it was purged
		case m := <-met:
			silence.Reset(patrolTimeout)
			meta, err := m.Metadata()
			if err != nil {
				return nil, err
			}
			if d := s.compare(strings.TrimPrefix(m.Subject, prefix), m, meta.Sequence.Stream, number); d.how != "" && len(doubts) < maxDoubts {
				doubts = append(doubts, d)
			}
			if meta.Sequence.Stream >= last || meta.NumPending == 0 {
				return doubts, nil
			}
		}
	}
}

// compare says how the index differs from what was met at a key.
func (s *Scheduler) compare(key string, m *nats.Msg, revision uint64, number uint16) doubt {
	known, ok := s.index.meet(key, number)
	switch {
	case ok && known >= revision:
		return doubt{}
	case ok:
		return doubt{key, "has changed"}
	case m.Header.Get("KV-Operation") != "" || m.Header.Get(jetstream.MarkerReasonHeader) != "":
		return doubt{}
	}
	if g, err := record.Summarize(key, m.Data); err == nil && g.Due.IsZero() {
		return doubt{} // it has ended
	}
	return doubt{key, "is not known"}
}

// settle looks at what was doubted again, when the watch has told of what stands there
// now.
func (s *Scheduler) settle(ctx context.Context, doubts []doubt) (why string, err error) {
	for _, d := range doubts {
		before, revision, err := s.differs(ctx, d.key)
		if err != nil {
			return "", err
		}
		if before == "" {
			continue
		}
		if err := s.told(ctx, revision); err != nil {
			return "", err
		}
		after, _, err := s.differs(ctx, d.key)
		if err != nil {
			return "", err
		}
		if after == before {
			return clip(d.key) + " " + d.how, nil
		}
	}
	return "", nil
}

// told waits until the watch has told of a revision, or for as long as it may take.
func (s *Scheduler) told(ctx context.Context, revision uint64) error {
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for end := time.Now().Add(maxBehind); s.revision.Load() < revision && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
	return nil
}

// differs reads a key, and says what stands there, and of which revision it is, if the
// index does not know it; "" is that it does.
func (s *Scheduler) differs(ctx context.Context, key string) (what string, revision uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, patrolTimeout)
	defer cancel()
	bucket := s.cfg.Namespace.LeaseBucket()
	stream, err := s.js.Stream(ctx, "KV_"+bucket)
	if err != nil {
		return "", 0, err
	}
	known, ok := s.index.revisionOf(key)
	m, err := stream.GetLastMsgForSubject(ctx, "$KV."+bucket+"."+key)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		if ok {
			return fmt.Sprintf("nothing, known at %d", known), 0, nil
		}
		return "", 0, nil
	}
	if err != nil {
		return "", 0, err
	}
	over := m.Header.Get("KV-Operation") != "" || m.Header.Get(jetstream.MarkerReasonHeader) != ""
	if g, err := record.Summarize(key, m.Data); err == nil && g.Due.IsZero() {
		over = true
	}
	if over == !ok && (over || known == m.Sequence) {
		return "", 0, nil
	}
	return fmt.Sprintf("%d, known at %d", m.Sequence, known), m.Sequence, nil
}
