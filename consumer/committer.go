package consumer

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// committer writes to one stream. Where NATS flushes each write to the disk, that is
// what a write costs, and a stream takes one after the other. There it can commit in
// groups: what comes while a write is under way waits for it, and then goes as one
// atomic batch, for which NATS flushes once. Each message of a batch is still compared
// by itself; where one is refused all are, and then each goes by itself, so that only
// those are refused that would have been.
//
// NATS keeps a batch in files of its own until it is committed. That costs as much as
// some writes do, so few messages go by themselves, and all of them where NATS does
// not flush each write.
type committer struct {
	js    jetstream.JetStream
	least int // messages that make a batch; 0: none do

	mu      sync.Mutex
	waiting []*commit
	busy    bool // somebody is at it, and takes what waits
}

// commit is a message that is to be written.
type commit struct {
	msg  *nats.Msg
	done chan struct{} // closed when the rest is known
	seq  uint64
	err  error
}

// mostInGroup is how many messages a batch has at most. A server takes 1000
// (nats-server, streamMaxAtomicBatchSize).
const mostInGroup = 250

// publish writes a message and returns its place in the stream. The message is the
// committer's from then on.
func (c *committer) publish(ctx context.Context, msg *nats.Msg) (uint64, error) {
	if c.least == 0 {
		return c.alone(ctx, msg)
	}
	w := &commit{msg: msg, done: make(chan struct{})}
	c.mu.Lock()
	c.waiting = append(c.waiting, w)
	if !c.busy {
		c.busy = true
		go c.run() // #nosec G118 -- it writes what others wait for, too
	}
	c.mu.Unlock()
	select {
	case <-w.done:
		return w.seq, w.err
	case <-ctx.Done():
		c.drop(w)
		return 0, ctx.Err() // unless it was dropped in time, it may be written all the same
	}
}

// drop takes back a message that still waits: nobody waits for it any more.
func (c *committer) drop(w *commit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = slices.DeleteFunc(c.waiting, func(other *commit) bool { return other == w })
}

// alone writes a message that waits for no others.
func (c *committer) alone(ctx context.Context, msg *nats.Msg) (uint64, error) {
	ack, err := c.js.PublishMsg(ctx, msg)
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// stalled is how long those who come wait for a write that is under way. One whose
// acknowledgement is lost must not hold up all others.
const stalled = 250 * time.Millisecond

// run writes what waits until nothing does.
func (c *committer) run() {
	for group := c.next(); len(group) > 0; group = c.next() {
		written := make(chan struct{})
		go func() {
			defer close(written)
			ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
			defer cancel()
			c.write(ctx, group)
		}()
		patience := time.NewTimer(stalled)
		select {
		case <-written:
		case <-patience.C:
		}
		patience.Stop()
	}
}

// next takes a group of those that wait, in their order. What would be refused because
// of another in the group has the next: of those that compare themselves with what
// stands at a subject it takes one a subject, and of an id one.
func (c *committer) next() (group []*commit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := map[string]bool{}
	var later []*commit
	for _, w := range c.waiting {
		compares, on := compared(w.msg)
		if len(group) == mostInGroup || slices.ContainsFunc(compares, func(s string) bool { return taken[s] }) {
			later = append(later, w)
			continue
		}
		for _, s := range append(compares, on) {
			taken[s] = true
		}
		group = append(group, w)
	}
	c.waiting = later
	c.busy = len(group) > 0
	return group
}

// compared is what a message compares itself with, and where it goes: subjects and, as
// no subject may be spelled, its id.
func compared(m *nats.Msg) (with []string, to string) {
	if m.Header.Get(jetstream.ExpectedLastSubjSeqHeader) != "" {
		with = append(with, cmp.Or(m.Header.Get(jetstream.ExpectedLastSubjSeqSubjHeader), m.Subject))
	}
	if id := m.Header.Get(jetstream.MsgIDHeader); id != "" {
		with = append(with, "id "+id)
	}
	return with, m.Subject
}

func (c *committer) write(ctx context.Context, group []*commit) {
	if len(group) < c.least {
		c.each(ctx, group)
		return
	}
	msgs := make([]*nats.Msg, len(group))
	for i, w := range group {
		msgs[i] = copyOf(w.msg) // it may have to go by itself yet, and the batch has headers of its own
	}
	ack, err := jetstreamext.PublishMsgBatch(ctx, c.js, msgs, jetstreamext.BatchFlowControl{})
	switch {
	case err == nil:
		seq := ack.Sequence - ack.BatchSize // a batch is in one piece
		for _, w := range group {
			seq++
			w.end(seq, nil)
		}
	case !wroteNothing(err):
		for _, w := range group {
			w.end(0, err)
		}
	case len(group) == 1:
		c.each(ctx, group)
	default: // one half may have nothing that is refused
		c.write(ctx, group[:len(group)/2])
		c.write(ctx, group[len(group)/2:])
	}
}

// wroteNothing says whether an error is one of before anything of a batch was written.
func wroteNothing(err error) bool {
	var refused *jetstream.APIError
	switch {
	case errors.As(err, &refused):
		return refused.ErrorCode != storeFailed || isPending(err) // a disk may have taken a part
	default:
		return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrMaxPayload)
	}
}

// each writes messages by themselves.
func (c *committer) each(ctx context.Context, group []*commit) {
	var all sync.WaitGroup
	for _, w := range group {
		all.Go(func() { w.end(c.alone(ctx, w.msg)) })
	}
	all.Wait()
}

func (w *commit) end(seq uint64, err error) {
	w.seq, w.err = seq, err
	close(w.done)
}

func copyOf(m *nats.Msg) *nats.Msg {
	c := nats.NewMsg(m.Subject)
	c.Data = m.Data
	for name, values := range m.Header {
		c.Header[name] = values
	}
	return c
}
