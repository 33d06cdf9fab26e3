package consumer

import (
	"context"
	"errors"
	"sync"

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
		return 0, ctx.Err() // it may be written all the same
	}
}

func (c *committer) alone(ctx context.Context, msg *nats.Msg) (uint64, error) {
	ack, err := c.js.PublishMsg(ctx, msg)
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// run writes what waits until nothing does.
func (c *committer) run() {
	for group := c.next(); len(group) > 0; group = c.next() {
		ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
		c.write(ctx, group)
		cancel()
	}
}

// next takes a group of those that wait, in their order. Of those that compare
// themselves with what stands at their subject it takes one a subject: the next
// compares itself with what becomes of that.
func (c *committer) next() (group []*commit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	subjects := map[string]bool{}
	var later []*commit
	for _, w := range c.waiting {
		compares := w.msg.Header.Get(jetstream.ExpectedLastSubjSeqHeader) != ""
		if len(group) == mostInGroup || compares && subjects[w.msg.Subject] {
			later = append(later, w)
			continue
		}
		subjects[w.msg.Subject] = true
		group = append(group, w)
	}
	c.waiting = later
	c.busy = len(group) > 0
	return group
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
	var refused *jetstream.APIError
	switch {
	case err == nil:
		seq := ack.Sequence - ack.BatchSize // a batch is in one piece
		for _, w := range group {
			seq++
			w.end(seq, nil)
		}
	case errors.As(err, &refused), errors.Is(err, nats.ErrNoResponders): // so nothing was written
		c.each(ctx, group)
	default:
		for _, w := range group {
			w.end(0, err)
		}
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
